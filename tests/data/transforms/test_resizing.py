"""Transforms that keep the whole picture move boxes, masks and class maps with it."""

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from corekit import registry
from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import find_fields
from corekit.data.outlines import Outlines, outline, run_lengths
from corekit.data.transforms.base import Transform
from corekit.data.transforms.resizing import ShortestSide, SquareResize
from corekit.errors import CorekitError
from tests.data.transforms.test_moving import PIXELS, check, cut, scene


@pytest.mark.parametrize("seed", range(6))
def test_square_resize(seed: int) -> None:
    check(SquareResize(PIXELS, flip=seed % 2), scene(seed), [cut(0, 0, 57, 41, 32, 32,
                                                                bool(seed % 2))])


@pytest.mark.parametrize(("longest", "width", "height"), [(0, 44, 32), (38, 38, 27)])
def test_shortest_side(longest: int, width: int, height: int) -> None:
    for seed in range(4):
        transform = ShortestSide(PIXELS, longest=longest, flip=1.0)
        check(transform, scene(seed), [cut(0, 0, 57, 41, width, height, True)])


def test_steps_with_a_size_of_their_own() -> None:
    sample = scene(0)["image"]
    assert ShortestSide(PIXELS, longest=38, divisor=16)(sample, size=64).shape == (3, 64, 80)
    assert SquareResize(PIXELS)(sample, size=64).shape == (3, 64, 64)


def test_what_fills_a_picture_up_is_black_and_ignored() -> None:
    fields = find_fields(["image", "boxes", "masks", "box_labels", "segmentation"])
    sample = scene(3)
    classes = np.random.default_rng(0).integers(0, 3, (41, 57), dtype=np.uint8)
    transform = Transform.of(ShortestSide(PIXELS, shortest=41, divisor=32, flip=1.0))
    moved = transform({**sample, "segmentation": classes}, fields)
    assert moved["image"].shape[1:] == moved["segmentation"].shape == (64, 64)
    assert not moved["image"][:, 41:].any()
    assert not moved["image"][:, :, 57:].any()
    assert not moved["masks"][:, :, 57:].any()
    inside = moved["segmentation"][:41, :57].numpy()
    assert np.array_equal(inside, classes[:, ::-1])
    assert (moved["segmentation"].numpy() == 255).sum() == 64 * 64 - classes.size


def outlined(sample: dict[str, Any]) -> dict[str, Any]:
    """A scene whose masks are polygons around them and, every second one, run lengths."""
    objects = [outline([[x1, y1, x2, y1, x2, y2, x1, y2]]) if number % 2 else run_lengths(mask)
               for number, (mask, (x1, y1, x2, y2)) in enumerate(
                   zip(sample["masks"], sample["boxes"].tolist()))]
    return {**sample, "masks": Outlines.of(objects, *sample["masks"].shape[1:])}


@pytest.mark.parametrize("name", ["square_resize", "shortest_side", "random_resized_crop",
                                  "center_crop", "rand_augment"])
def test_outlines_move_as_drawn_masks_do(name: str) -> None:
    transform = Transform.of(registry.build("transform", name, {}, {"preprocess": PIXELS}))
    fields = find_fields(["image", "boxes", "masks", "box_labels"])
    for seed in range(8):
        sample = scene(seed)
        torch.manual_seed(seed)
        drawn = transform(sample, fields)
        torch.manual_seed(seed)
        moved = transform(outlined(sample), fields)
        for field in ("image", "boxes", "box_labels"):
            assert np.array_equal(moved[field], drawn[field])
        assert moved["masks"].shape == drawn["masks"].shape
        for mask, wanted in zip(moved["masks"].numpy(), drawn["masks"].numpy()):
            perimeter = 2 * (wanted.any(0).sum() + wanted.any(1).sum())
            assert (mask != wanted).sum() <= perimeter, "polygons round where masks look up"


def test_torchvisions_transforms_get_drawn_masks_and_fill_maps_with_no_class() -> None:
    sample = outlined(scene(5))
    sample["segmentation"] = np.full((41, 57), 7, np.uint8)
    fields = find_fields(["image", "boxes", "masks", "box_labels", "segmentation"])
    moved = Transform.of(v2.Compose([v2.Pad(3), v2.RandomHorizontalFlip(1.0)]))(sample, fields)
    assert moved["masks"].shape[1:] == moved["segmentation"].shape == (47, 63)
    assert (moved["segmentation"][3:-3, 3:-3] == 7).all()
    assert (moved["segmentation"] == 255).sum() == 47 * 63 - 41 * 57
    assert np.array_equal(moved["masks"][:, 3:-3, 3:-3], sample["masks"].draw()[:, :, ::-1])


def test_a_mask_of_another_size_is_a_bad_sample() -> None:
    transform = Transform.of(SquareResize(PIXELS))
    sample = {**scene(0), "segmentation": np.zeros((40, 57), np.uint8)}
    with pytest.raises(BadSampleError, match="0: segmentation of 57 x 40 pixels for a picture of "
                                             "57 x 41"):
        transform(sample, find_fields(["image", "segmentation"]))


@pytest.mark.parametrize(("name", "wrong"), [
    ("square_resize", {"flip": 1.5}), ("shortest_side", {"flip": -1.0}),
    ("shortest_side", {"divisor": 0}), ("shortest_side", {"longest": -1})])
def test_arguments_out_of_range_are_refused(name: str, wrong: dict[str, float]) -> None:
    with pytest.raises(CorekitError, match=f"^transform '{name}' needs"):
        registry.build("transform", name, wrong, {"preprocess": PIXELS})
