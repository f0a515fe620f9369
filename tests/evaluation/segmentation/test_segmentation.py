"""The segmentation evaluator against a loop over pixels, on pictures of several sizes."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.metrics.confusion import count_pixels, figures, intersection_over_union
from corekit.evaluation.segmentation.segmentation import Segmentation
from tests.evaluation.known import eval_model, on_ranks

CLASSES = 4
SIZES = [(20, 30), (16, 16), (20, 30), (40, 12), (16, 16), (9, 21), (32, 32)]
PREPROCESS = Preprocess(32, "bilinear", (0, 0, 0), (1, 1, 1))


class Pictures:
    """Pictures of random pixels, with random labels of which some are ignored."""

    def __init__(self) -> None:
        self.fields = ("image", "segmentation")
        self.shard_sizes = np.array([len(SIZES)])
        self.fingerprint = ""
        self.class_names = [f"class {number}" for number in range(CLASSES)]

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> dict[str, Any]:
        random = np.random.default_rng(handle)
        label = random.choice(np.array([0, 1, 2, 255], dtype=np.uint8), SIZES[handle])
        pixels = random.integers(0, 256, (*SIZES[handle], 3), dtype=np.uint8)
        return {"key": str(handle), "image": Image.fromarray(pixels), "segmentation": label}


class Colours(nn.Module):
    """A class for each channel of the picture, at half its size, and one that never wins."""

    def segment(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        logits = torch.cat([image, torch.full_like(image[:, :1], -1)], dim=1)[:, :, ::2, ::2]
        return F.interpolate(logits, size, mode="bilinear")


def model() -> EvalModel:
    return EvalModel(**{**vars(eval_model(Colours())), "preprocess": PREPROCESS})


def by_hand() -> list[float]:
    """IoU of each class, of pictures squeezed into the square."""
    both, either = [0] * CLASSES, [0] * CLASSES
    for number in range(len(SIZES)):
        sample = Pictures().decode(number)
        pixels = PREPROCESS.normalize(torch.from_numpy(np.array(sample["image"].resize(
            (32, 32), Image.Resampling.BILINEAR))).permute(2, 0, 1)[None])
        guess = Colours().segment(pixels, SIZES[number])[0].argmax(0).numpy()
        label = sample["segmentation"]
        for each in range(CLASSES):
            counted = label != 255
            both[each] += int(((guess == each) & (label == each) & counted).sum())
            either[each] += int((((guess == each) | (label == each)) & counted).sum())
    return [part / whole for part, whole in zip(both, either) if whole]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_mean_iou_is_that_of_a_loop_over_pixels(ranks: int) -> None:
    evaluator = Segmentation(Pictures(), PREPROCESS, keep_aspect=False, batch_size=3)
    results = on_ranks(evaluator, model(), ranks)
    expected = by_hand()
    assert len(expected) == CLASSES - 1
    for result in results:
        assert result.metrics["mean_iou"] == pytest.approx(np.mean(expected), abs=1e-12)
        assert result.samples == len(SIZES)
    by_class = results[0].details["by_class"]
    assert list(by_class.values()) == pytest.approx(expected)  # type: ignore[attr-defined]


def test_classes_of_pixels_have_names_of_their_own() -> None:
    dataset = Pictures()
    dataset.segmentation_names = ["sky", "sea", "land", "background"]  # type: ignore[attr-defined]
    dataset.class_names = dataset.class_names[:3]  # of objects alone
    by_class = Segmentation(dataset, PREPROCESS)(model()).details["by_class"]
    assert list(by_class) == ["sky", "sea", "land"]  # type: ignore[call-overload]


def test_what_is_padded_is_not_evaluated() -> None:
    """A picture of one colour is that class everywhere, whatever is black beside it."""
    dataset = Pictures()
    decode = dataset.decode
    dataset.decode = lambda handle: {  # type: ignore[method-assign]
        **decode(handle), "image": Image.new("RGB", SIZES[handle][::-1], (0, 0, 200)),
        "segmentation": np.full(SIZES[handle], 2, dtype=np.uint8)}
    for longest in (None, 64):
        evaluator = Segmentation(dataset, PREPROCESS, longest=longest)
        assert evaluator(model()).metrics == {"mean_iou": 1, "pixel_accuracy": 1}


def test_absent_and_merely_predicted_classes_and_ignored_pixels() -> None:
    counts = count_pixels(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 255]), 4)
    assert intersection_over_union(counts).tolist()[:2] == [0.5, 0.5]
    assert figures(counts) == {"mean_iou": 0.5, "pixel_accuracy": pytest.approx(2 / 3)}
    counts = count_pixels(torch.tensor([0, 2]), torch.tensor([0, 0]), 4)  # 2: only predicted
    assert figures(counts)["mean_iou"] == pytest.approx((0.5 + 0) / 2)
    with pytest.raises(CorekitError, match="label 4, but the model has 4 classes"):
        count_pixels(torch.tensor([0]), torch.tensor([4]), 4)
