"""StoredFile augmentations replayed: torchvision's own pixels at the stored size, the same picture
at another.
"""

import numpy as np
import pytest
import torch
from corekit_projects.mobileclip.replay import (
    OPERATIONS,
    STORED,
    Augmentation,
    Replay,
    parse_augmentation,
)
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import RandAugment, _apply_op

from corekit.data.datasets.base import BadSampleError
from corekit.data.transforms.preprocess import Preprocess

DATACOMPDR = ("random_resized_crop", "rand_augment")
SPACE = RandAugment()._augmentation_space(31, (224, 224))


def picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3),
                                                  dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def replay(size: int, interpolation: str = "bicubic") -> Replay:
    return Replay(Preprocess(size, interpolation, (0, 0, 0), (1, 1, 1)))


def magnitudes(name: str) -> list[float]:
    """The magnitudes that RandAugment may draw for a 224-pixel picture; those of 9 bins are what
    DataCompDR has.
    """
    values, signed = SPACE[name]
    drawn = [0.0] if values.ndim == 0 else [float(values[bins]) for bins in (9, 30)]
    return drawn + [-value for value in drawn if signed]


def test_the_operations_are_numbered_as_torchvision_lists_them() -> None:
    assert tuple(SPACE) == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_operation_gives_torchvisions_pixels_at_the_stored_size(name: str,
                                                                      interpolation: str) -> None:
    for seed, magnitude in enumerate(magnitudes(name)):
        image = picture(seed)
        torch.manual_seed(seed)
        crop = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        cropped = F.resized_crop(image, *crop, [224, 224], InterpolationMode(interpolation))
        wanted = cropped
        for operation, much in ((name, magnitude), ("Color", 0.27), (name, magnitude)):
            wanted = _apply_op(wanted, operation, much, InterpolationMode.NEAREST, None)
        number = OPERATIONS.index(name)
        entry = [
            list(crop), [[number, magnitude], [OPERATIONS.index("Color"), 0.27],
                         [number, magnitude]]
        ]
        pixels = replay(224, interpolation).replay(image,
                                                   parse_augmentation(entry, DATACOMPDR, "here"))
        assert torch.equal(pixels, F.pil_to_tensor(wanted)), (magnitude, crop)


def test_whole_transforms_of_torchvision_are_replayed_from_what_they_drew(
        monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, float]] = []

    def watched(img, op_name, magnitude, **more):  # type: ignore[no-untyped-def]
        drawn.append((OPERATIONS.index(op_name), magnitude))
        return _apply_op(img, op_name, magnitude, **more)

    monkeypatch.setattr("torchvision.transforms.autoaugment._apply_op", watched)
    crops, augments = RandomResizedCrop(224, interpolation=InterpolationMode.BICUBIC), RandAugment()
    for seed in range(25):
        drawn.clear()
        image = picture(seed)
        torch.manual_seed(seed)
        wanted = augments(crops(image))
        torch.manual_seed(seed)
        crop = crops.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        entry = [list(crop), [list(each) for each in drawn]]
        assert torch.equal(
            replay(224).replay(image, parse_augmentation(entry, DATACOMPDR, "here")),
            F.pil_to_tensor(wanted)), seed


def test_a_flip_comes_between_crop_and_operations() -> None:
    image = picture(3)
    entry = [[0, 0, 120, 160], True, [[OPERATIONS.index("TranslateX"), 40.0]]]
    wanted = F.affine(F.hflip(F.resize(image, [224, 224], InterpolationMode.BICUBIC)), 0.0, [40, 0],
                      1.0, [0.0, 0.0])
    assert torch.equal(
        replay(224).replay(image, parse_augmentation(entry, STORED, "here")),
        F.pil_to_tensor(wanted))


def shown(size: int, operations: tuple[tuple[str, float], ...]) -> Tensor:
    """Where a white square on black comes to lie, bool on a common grid of 7,168 = 32 x 224 = 28 x
    256 pixels a side.
    """
    image = Image.new("RGB", (448, 448))
    image.paste((255, 255, 255), (152, 152, 344, 344))
    seen = replay(size, "bilinear").replay(image, Augmentation(None, False, operations))[0] > 127
    return seen.repeat_interleave(1792 // size, 0).repeat_interleave(1792 // size, 1)


@pytest.mark.parametrize("name", ["TranslateX", "TranslateY", "ShearX", "ShearY", "Rotate"])
def test_at_another_size_the_picture_shows_the_same(name: str) -> None:
    for magnitude in magnitudes(name):
        teacher, student = shown(224, ((name, magnitude),)), shown(256, ((name, magnitude),))
        overlap = (teacher & student).sum() / (teacher | student).sum()
        assert overlap > 0.975, "all but what rounding to pixels does along the edges"
        assert _middle(teacher) == pytest.approx(_middle(student),
                                                 abs=1792 / 224 * 0.51), "within half a pixel"


def _middle(seen: Tensor) -> list[float]:
    return [float(places.double().mean()) for places in seen.nonzero(as_tuple=True)]


@pytest.mark.parametrize("entry", [
    None, 3, [], [[0, 0, 10, 10]], [[0, 0, 10], []], [[0, 0, 0, 10], []], [[-1, 0, 10, 10], []],
    [[0, 0, 10, 10], [[14, 1.0]]], [[0, 0, 10, 10], [[-1, 1.0]]], [[0, 0, 10, 10], [[1.5, 1.0]]],
    [[0, 0, 10, 10], [[1, float("nan")]]], [[0, 0, 10, 10], [["ShearX", 1.0]]],
    [[0, 0, 10, 10], [[1, "x"]]], [[0, 0, 10, 10], [[1]]], [["a", 0, 10, 10], []],
    [[0, 0, float("inf"), 10], []], {"a": 1, "b": 2}
])
def test_entries_of_another_form_are_bad_samples(entry: object) -> None:
    with pytest.raises(BadSampleError) as caught:
        parse_augmentation(entry, DATACOMPDR, "shard: key")
    assert caught.value.kind == "augmentation"
    assert caught.value.message.startswith("shard: key: ")


def test_an_augmentation_of_another_picture_is_a_bad_sample() -> None:
    inside, outside = ([[20, 0, height, 160], None] for height in (100, 101))
    replay(64).replay(picture(0), parse_augmentation(inside, DATACOMPDR, "here"))
    with pytest.raises(BadSampleError, match="does not fit the picture of 120 x 160"):
        replay(64).replay(picture(0), parse_augmentation(outside, DATACOMPDR, "here"))
