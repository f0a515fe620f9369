"""Boxes, masks and points move with their picture, as torchvision's ``tv_tensors``.

Masks that are stored as polygons or run lengths move as such, and are drawn at the end.

A transform that moves the picture does the same to everything of these types in its sample. What a
box or mask keeps of its object may become nothing on the way; such rows leave the sample when the
transform is done, with all that belongs to them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as torch_functional
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import BoundingBoxes, Mask, TVTensor

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.fields import Field
from corekit.data.outlines import Outlines
from corekit.errors import CorekitError

# pixels of a box that still shows something, as torchvision's SanitizeBoundingBoxes
LEAST_SIDE = 1.0
Placed: TypeAlias = TVTensor | Outlines  # what moves with the picture


def place(value: object, field: Field, image: Image.Image, key: str = "") -> Placed:
    """A field's value as the type that transforms move, in the picture it belongs to.

    A mask is placed such that 0 is what lies outside the picture, as transforms fill it.

    Raises:
        BadSampleError: a box is nowhere in the picture, or a mask has another size than it.
    """
    canvas = (image.height, image.width)
    if field.geometry == "mask":
        mask = value if isinstance(value, Outlines) else Mask(torch.as_tensor(value))
        size = mask.canvas if isinstance(mask, Outlines) else tuple(mask.shape[-2:])
        if size != canvas:
            raise BadSampleError("mask_size", f"{key}: {field.name} of {size[1]} x {size[0]} "
                                 f"pixels for a picture of {canvas[1]} x {canvas[0]}")
        if isinstance(mask, Outlines) or not field.outside:
            return mask
        return Mask(mask.as_subclass(Tensor) ^ field.outside)
    if field.geometry == "boxes":
        boxes = torch.as_tensor(value, dtype=torch.float32).reshape(-1, 4)
        _check_boxes(boxes, canvas, f"{key}: {field.name}")
        return BoundingBoxes(boxes, format="XYXY",  # type: ignore[call-overload, no-any-return]
                             canvas_size=canvas)
    if field.geometry == "image":
        return tv_tensors.Image(value)
    if not hasattr(tv_tensors, "KeyPoints"):
        raise CorekitError(f"field '{field.name}' holds points, which torchvision moves from 0.23 "
                           "on: install a newer one")
    points = torch.as_tensor(value, dtype=torch.float32)
    return tv_tensors.KeyPoints(points, canvas_size=canvas)  # type: ignore[no-any-return]


def _check_boxes(boxes: Tensor, canvas: tuple[int, int], where: str) -> None:
    """Refuse what would be a box of something else, or none, after the transform."""
    first, last = boxes[:, :2], boxes[:, 2:]
    for kind, wrong in (("not_finite", ~boxes.isfinite()), ("no_area", last <= first),
                        ("outside", (last <= 0) | (first >= torch.tensor(canvas[::-1])))):
        rows = wrong.any(1)
        if bool(rows.any()):
            box = boxes[rows][0].tolist()
            raise BadSampleError(kind, f"{where}: {box} in {canvas[1]} x {canvas[0]} pixels")


def draw(value: object) -> object:
    """The masks of outlines; anything else as it is."""
    return Mask(torch.from_numpy(value.draw())) if isinstance(value, Outlines) else value


def move(sample: Sample, step: Callable[[Placed], Placed]) -> Sample:
    """Apply one movement to every field of a sample that has a place in its picture.

    A box of which nothing is left becomes a point, so that no later turn makes it a box again.
    """
    return {name: _collapsed(step(value)) if isinstance(value, (TVTensor, Outlines)) else value
            for name, value in sample.items()}


def _collapsed(value: Placed) -> Placed:
    if isinstance(value, BoundingBoxes):
        is_empty = ~is_visible(value)
        value[is_empty, 2:] = value[is_empty, :2]
    return value


def cut_out(sample: Sample, part: tuple[int, int, int, int], size: tuple[int, int],
            flip: bool = False) -> Sample:
    """What a part of the picture holds, but for the picture: resized, perhaps mirrored.

    Args:
        sample: what else is in it stays as it is.
        part: left, top, right, bottom; it may reach beyond the picture, where masks are 0.
        size: (height, width) that it gets.
        flip: whether to mirror it.
    """
    def step(value: Placed) -> Placed:
        output = resize(crop(value, *part), size)
        return mirror(output) if flip else output

    return move(sample, step)


class Movement(NamedTuple):
    """Arguments of torchvision's ``affine``: degrees, pixels, degrees, and the point that stays."""

    angle: float = 0.0
    translate: tuple[float, float] = (0, 0)
    shear: tuple[float, float] = (0.0, 0.0)
    center: tuple[int, int] | None = None


def turn(sample: Sample, to: Movement) -> Sample:
    """Apply a picture's movement to all else in it; boxes end at the picture's edges."""
    center = None if to.center is None else list(to.center)
    return move(sample, lambda value: F.affine(draw(value), to.angle, list(to.translate), 1.0,
                                               list(to.shear), center=center))


def crop(value: Placed, left: int, top: int, right: int, bottom: int) -> Placed:
    """The inside of a rectangle, which may reach beyond the picture; boxes end at its edges."""
    if isinstance(value, Outlines):
        return value.crop(left, top, right, bottom)
    return F.crop(value, top, left, bottom - top, right - left)


def mirror(value: Placed) -> Placed:
    """The value mirrored, left and right."""
    return value.flip() if isinstance(value, Outlines) else F.horizontal_flip(value)


def resize(value: Placed, size: tuple[int, int]) -> Placed:
    """The value resized to ``size`` (height, width)."""
    if isinstance(value, Outlines):
        return value.resize(*size)
    if not isinstance(value, Mask):
        return F.resize(value, list(size), antialias=True)
    # at the pixels' middles, which torchvision's nearest neighbour is not
    mask = value.as_subclass(Tensor)
    pixels = mask.reshape(1, -1, *mask.shape[-2:])
    if not pixels.shape[1]:
        return Mask(mask.new_zeros(*mask.shape[:-2], *size))
    resized = torch_functional.interpolate(pixels, size, mode="nearest-exact")
    return Mask(resized.reshape(*mask.shape[:-2], *size))


def boxes_around_masks(sample: Sample) -> Sample:
    """The sample with its masks drawn, and its boxes tight around them."""
    sample = {name: draw(value) for name, value in sample.items()}
    masks = [value for value in sample.values() if isinstance(value, Mask) and value.ndim == 3]
    for name, boxes in sample.items():
        if isinstance(boxes, BoundingBoxes):
            if not masks:
                raise CorekitError(f"`{name}` are to lie around masks, but the dataset has none")
            sample[name] = _tight(boxes, masks[0].as_subclass(Tensor))
    return sample


def _tight(boxes: BoundingBoxes, masks: Tensor) -> BoundingBoxes:
    """Boxes around masks [n, H, W]; a point where a mask is empty."""
    edges = []
    for axis in (1, 2):  # first what each column holds, then each row
        is_filled = masks.amax(axis) != 0
        first = is_filled.int().argmax(1)
        last = is_filled.shape[1] - is_filled.flip(1).int().argmax(1)
        edges += [first, torch.where(is_filled.any(1), last, first)]
    left, right, top, bottom = edges
    tight = torch.stack([left, top, right, bottom], 1).float()
    return tv_tensors.wrap(tight, like=boxes)  # type: ignore[no-any-return]


def is_visible(value: Tensor) -> Tensor:
    """bool [n]: which boxes [n, 4] or masks [n, H, W] still show something."""
    rows = value.as_subclass(Tensor)
    if isinstance(value, Mask):
        return rows.flatten(1).amax(1) != 0 if rows.numel() else rows.flatten(1).any(1)
    return (rows[:, 2:] - rows[:, :2] >= LEAST_SIDE).all(1)


def drop_emptied(sample: Sample, fields: Mapping[str, Field]) -> Sample:
    """The sample with its masks drawn, and without the rows of which no box or pixel is left.

    A row goes from all fields of a group. Outlines are drawn where a box is left.
    """
    sample = _drop_invisible(sample, fields)
    if not any(isinstance(value, Outlines) for value in sample.values()):
        return sample
    return _drop_invisible({name: draw(value) for name, value in sample.items()}, fields)


def _drop_invisible(sample: Sample, fields: Mapping[str, Field]) -> Sample:
    groups: dict[str, list[str]] = {}
    for name, field in fields.items():
        if field.offsets is not None and name in sample:
            groups.setdefault(field.offsets, []).append(name)
    for names in groups.values():
        masks = [is_visible(sample[name]) for name in names
                 if isinstance(sample[name], (BoundingBoxes, Mask))]
        if masks and not bool((visible := torch.stack(masks).all(0)).all()):
            sample = {**sample, **{name: _rows(sample[name], visible) for name in names}}
    return sample


def _rows(value: Tensor | NDArray[np.generic] | Outlines | Sequence[object],
          mask: Tensor) -> object:
    if isinstance(value, Outlines):
        return value.rows(mask.tolist())
    if isinstance(value, Tensor):
        return value[mask]
    if isinstance(value, np.ndarray):
        return value[mask.numpy()]
    return [item for item, stays in zip(value, mask.tolist()) if stays]
