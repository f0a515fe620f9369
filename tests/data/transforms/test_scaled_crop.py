"""Random scales and crops against a slow geometry by hand, on 1,000 random scenes in all."""

from typing import Any

import numpy as np
import pytest
import torch

from corekit.data.fields import find_fields
from corekit.data.transforms.base import Transform
from corekit.data.transforms.preprocess import Preprocess
from corekit.data.transforms.resizing import ShortestSide, SquareResize
from corekit.data.transforms.scaled_crop import ClassLimitedCrop, LargeScaleJitter
from corekit.errors import CorekitError
from tests.data.transforms.test_moving import by_hand, check, cut, scene
from tests.data.transforms.test_resizing import outlined

SMALL = Preprocess(24, "bilinear", (0, 0, 0), (1, 1, 1))
FIELDS = find_fields(["image", "boxes", "masks", "box_labels"])
SCENES = 200  # of each transform and way
TIES = 0.05  # of pixels, where a middle lies on an edge between two pixels of the picture


def tight(mask: Any) -> list[int]:
    """The box around a mask."""
    down, across = np.nonzero(mask)
    return [across.min(), down.min(), across.max() + 1, down.max() + 1]


def test_square_resize_and_shortest_side_of_many_scenes() -> None:
    for seed in range(SCENES):
        sample = scene(seed, 20 + seed % 17, 15 + seed % 23)
        width, height = sample["image"].size
        check(SquareResize(SMALL, flip=1.0), sample,
              steps_of((0, 0, width, height), (24, 24), True), TIES)
        keep = ShortestSide(SMALL, longest=30)
        size = keep.resized_size(height, width)
        check(keep, sample, steps_of((0, 0, width, height), size, False), TIES)


def steps_of(part: Any, size: tuple[int, int], flip: bool) -> list[Any]:
    """A part that is resized to (height, width) first, and mirrored then."""
    high, wide = size
    return [cut(*part, wide, high), cut(0, 0, wide, high, wide, high, flip)]


@pytest.mark.parametrize("boxes_from_masks", [False, True])
def test_large_scale_jitter(boxes_from_masks: bool) -> None:
    for seed in range(SCENES):
        smallest = 0.3 + 1.7 * seed / SCENES
        transform = LargeScaleJitter(SMALL, (smallest, smallest + 0.3), float(seed % 2),
                                     boxes_from_masks)
        sample, is_outlined = scene(seed, 20 + seed % 17, 15 + seed % 23), seed % 3 == 0
        torch.manual_seed(0)
        part, size = transform.draw(*sample["image"].size[::-1], 24)
        wanted = {label: (np.array(box), np.pad(mask, [(0, 24 - side) for side in size]))
                  for box, mask, label in zip(*by_hand(sample, steps_of(part, size, seed % 2 > 0)))
                  if mask.any()}
        torch.manual_seed(0)
        moved = Transform.of(transform)(outlined(sample) if is_outlined else sample, FIELDS)
        labels = moved["box_labels"].tolist()
        assert moved["image"].shape == (3, 24, 24)
        assert labels == sorted(labels)
        # what is hardly a pixel wide may have one where it is looked up, or not
        rounds = boxes_from_masks or is_outlined
        lost = [wanted[label][0] for label in wanted.keys() - {*labels}]
        assert all(rounds and (box[2:] - box[:2]).min() < 2 for box in lost)
        for label, mask, box in zip(labels, moved["masks"].numpy(), moved["boxes"].tolist()):
            if boxes_from_masks:
                assert box == tight(mask)
            if label not in wanted:
                assert boxes_from_masks
                assert min(mask.any(0).sum(), mask.any(1).sum()) == 1
                continue
            assert np.abs(box - wanted[label][0]).max() <= (1.001 if boxes_from_masks else 2e-3)
            perimeter = 2 * (mask.any(0).sum() + mask.any(1).sum())
            assert (mask != wanted[label][1]).sum() <= (perimeter if is_outlined else 576 * TIES)


def test_jitter_draws_all_scales_and_places() -> None:
    transform = LargeScaleJitter(SMALL, (0.1, 2.0))
    torch.manual_seed(0)
    drawn = [transform.draw(48, 96, 24) for _ in range(2000)]
    widths = [size[1] * 96 / (part[2] - part[0]) / 24 for part, size in drawn]
    assert 0.08 < min(widths) < 0.15
    assert 1.9 < max(widths) < 2.05
    enlarge = LargeScaleJitter(SMALL, (3.0, 5.0))
    parts = np.array([enlarge.draw(48, 96, 24)[0] for _ in range(1000)])
    room = np.array([96, 48]) - (parts[:, 2:] - parts[:, :2])
    across, down = (parts[:, :2] / room).T
    assert min(across.min(), down.min()) == 0
    assert max(across.max(), down.max()) == 1
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.1, "the axes are drawn each by itself"


def classes_of(sample: dict[str, Any], classes: int = 5) -> Any:
    """A map in blocks of 6 pixels, some of which have no class."""
    draw = np.random.default_rng(int(sample["key"]))
    width, height = sample["image"].size
    blocks = draw.integers(0, classes + 1, (height // 6 + 1, width // 6 + 1)).astype(np.uint8)
    blocks[blocks == classes] = 255
    return blocks.repeat(6, 0).repeat(6, 1)[:height, :width]


def test_class_limited_crop() -> None:
    fields = find_fields(["image", "boxes", "masks", "box_labels", "segmentation"])
    for seed in range(SCENES):
        sample = scene(seed, 20 + seed % 17, 15 + seed % 23)
        sample["segmentation"] = classes_of(sample)
        width, height = sample["image"].size
        transform = ClassLimitedCrop(SMALL, (18, 40), 44, flip=float(seed % 2), tries=0)
        torch.manual_seed(0)
        high, wide = transform.draw_size(height, width, 24)
        factor = min(high / height, wide / width)
        assert max(high, wide) <= 44
        assert abs(high / height - wide / width) * min(height, width) <= 2 + factor
        torch.rand(()) if transform.flip else None
        top, left = (int(torch.randint(max(0, side - 24) + 1, ())) for side in (high, wide))
        steps = [*steps_of((0, 0, width, height), (high, wide), seed % 2 > 0),
                 cut(left, top, left + 24, top + 24, 24, 24)]
        boxes, masks, labels = by_hand(sample, steps)
        torch.manual_seed(0)
        moved = Transform.of(transform)(sample, fields)
        visible = [number for number, mask in enumerate(masks) if mask.any()]
        assert moved["box_labels"].tolist() == [labels[number] for number in visible]
        for row, number in enumerate(visible):
            assert (moved["masks"][row].numpy() != masks[number]).mean() < TIES
            edges = np.clip(boxes[number], 0, [wide, high, wide, high])
            assert np.allclose(moved["boxes"][row], edges, atol=2e-3)
        by_class = by_hand({**sample, "box_labels": range(6), "boxes": np.array(
            [[0, 0, width, height]] * 6), "masks": np.array(
                [sample["segmentation"] == each for each in (0, 1, 2, 3, 4, 255)])}, steps)[1:]
        wanted = np.full((24, 24), 255, np.uint8)
        for mask, number in zip(*by_class):
            wanted[mask != 0] = (0, 1, 2, 3, 4, 255)[number]
        assert (moved["segmentation"].numpy() != wanted).mean() < 2 * TIES


def test_a_square_that_one_class_fills_is_drawn_again_up_to_ten_times() -> None:
    sample = scene(0, 96, 24)
    classes = np.zeros((24, 96), np.uint8)
    classes[:, 70:] = 1  # one class alone in most squares
    fields = find_fields(["image", "segmentation"])
    transform = Transform.of(ClassLimitedCrop(SMALL, (24, 24), 96, flip=0.0))
    refused = 0
    for seed in range(100):
        torch.manual_seed(seed)
        moved = transform({**sample, "segmentation": classes}, fields)["segmentation"]
        refused += bool(moved.float().mean() >= 0.75 or moved.float().mean() <= 0.25)
    # of 73 places 11 have less than three quarters of either class
    assert refused / 100 == pytest.approx((62 / 73)**11, abs=0.1)
    classes[:] = 7
    torch.manual_seed(0)
    moved = transform({**sample, "segmentation": classes}, fields)["segmentation"]
    assert (moved == 7).all(), "the eleventh is taken as it is"


def test_pixels_of_no_class_count_as_one_where_asked() -> None:
    half = torch.zeros(24, 24, dtype=torch.uint8)
    half[:, :10] = 3
    for ignored_is_class in (False, True):
        transform = ClassLimitedCrop(SMALL, ignored_is_class=ignored_is_class)
        assert transform.is_refused(half) is not ignored_is_class  # type: ignore[arg-type]


@pytest.mark.parametrize(("transform", "wrong"), [
    (LargeScaleJitter, {"scale": (0.0, 1.0)}), (LargeScaleJitter, {"scale": (2.0, 1.0)}),
    (LargeScaleJitter, {"flip": 2.0}), (ClassLimitedCrop, {"shortest": (9, 4)}),
    (ClassLimitedCrop, {"longest": 500}), (ClassLimitedCrop, {"limit": 0.0}),
    (ClassLimitedCrop, {"tries": -1})])
def test_arguments_out_of_range_are_refused(transform: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(CorekitError, match="^transform '.*' needs"):
        transform(SMALL, **wrong)
