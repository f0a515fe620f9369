"""RandAugment: its operations against timm's, how often they are drawn, and colour jitter."""

import numpy as np
import pytest
import timm.data.auto_augment as theirs
import torch
from PIL import Image

from corekit import CorekitError
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess, to_tensor
from corekit.data.transforms.rand_augment import OPERATIONS, RandAugment

SIDE = 64
PREPROCESS = Preprocess(SIDE, "bilinear", (0.5, 0.4, 0.3), (1.0, 1.0, 1.0))
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
NAMES = {
    "TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel",
    **{name: f"{name}Increasing" for name in INCREASING}
}


def picture() -> Image.Image:
    image: Image.Image = OpenMoji(8, size=SIDE).decode(5)["image"]
    return image


@pytest.mark.parametrize("level", [0.9, 0.35])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_timm(name: str, level: float,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    image, of_timm = picture(), NAMES.get(name, name)
    function, argument = theirs.NAME_TO_OP[of_timm], theirs.LEVEL_TO_ARG[of_timm]
    pictures = [
        OPERATIONS[name](to_tensor(image), sign * level, [128, 102, 77]).permute(1, 2, 0).numpy()
        for sign in (1, -1)
    ]
    expected = []
    for sign in (1, -1):
        monkeypatch.setattr(theirs, "_randomly_negate", lambda value, sign=sign: sign * value)
        arguments = argument(10 * level, {}) if argument else ()
        expected.append(
            np.asarray(
                function(image, *arguments, resample=Image.Resampling.BILINEAR,
                         fillcolor=(128, 102, 77))))
    # which sign is which way is of no account: one is drawn as often as the other
    errors = [[np.abs(one.astype(int) - other).mean() for one, other in zip(pictures, order)]
              for order in (expected, expected[::-1])]
    assert min(map(max, errors)) < 2, f"{errors} of 255 levels"


def test_operations_are_drawn_as_often_as_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, float]] = []
    for name in OPERATIONS:
        monkeypatch.setitem(
            OPERATIONS, name, lambda image, level, fill, name=name: done.append(
                (name, level)) or image)
    transform, image = RandAugment(PREPROCESS, **WHOLE), picture()  # type: ignore[arg-type]
    torch.manual_seed(0)
    for _ in range(1500):
        transform(image)
    counts = np.array([sum(name == one for name, _ in done) for one in OPERATIONS])
    assert abs(counts.sum() - 1500) < 4 * np.sqrt(750), "half of two"
    assert ((counts - 100) ** 2 / 100).sum() < 40, "chi-square of 15"
    levels = np.array([level for _, level in done])
    assert abs((levels > 0).mean() - 0.5) < 0.06
    assert abs(np.abs(levels).mean() - 0.9) < 0.01
    assert abs(np.abs(levels).std() - 0.05) < 0.01


def test_without_operations_it_is_the_crop_and_the_generator_decides() -> None:
    image = picture()
    torch.manual_seed(3)
    expected = RandomResizedCrop(PREPROCESS, scale=(0.08, 1.0), flip=0.5)(image)
    torch.manual_seed(3)
    assert torch.equal(RandAugment(PREPROCESS, operations=0)(image), expected)
    strong = RandAugment(PREPROCESS, color_jitter=0.3)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(strong(image, 32))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[0].shape == (3, 32, 32)
    assert drawn[0].dtype == torch.uint8


def test_colour_jitter_changes_by_its_share_at_most() -> None:
    grey = Image.new("RGB", (SIDE, SIDE), (100, 100, 100))
    transform = RandAugment(PREPROCESS, operations=0, color_jitter=0.3,
                            **WHOLE)  # type: ignore[arg-type]
    torch.manual_seed(0)
    seen = [transform(grey)[0, 0, 0].item() for _ in range(200)]
    assert 69 <= min(seen) < 75, "cut off, not rounded"
    assert 125 < max(seen) <= 130


def test_arguments_out_of_range_are_told() -> None:
    with pytest.raises(CorekitError, match="magnitude from 0 to 10"):
        RandAugment(PREPROCESS, magnitude=11)
