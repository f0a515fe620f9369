"""Masks of objects as polygons or run lengths, which move with the picture before they are drawn.

Drawing what a crop keeps, at the size it gets, costs a small part of drawing and resizing whole
masks of a large picture.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from corekit.errors import CorekitError

FURTHEST = 100_000  # pixels from a corner of the picture that a polygon may be away

Polygons: TypeAlias = list[NDArray[np.float64]]  # each [points, 2], x y in pixels
RunLengths: TypeAlias = dict[str, list[int]]  # size [height, width] and counts, as COCO's
Outline: TypeAlias = Polygons | RunLengths


@dataclass(frozen=True)
class Outlines:
    """The masks of n objects in a picture, and where the picture has moved since.

    A point x y of the picture is now at ``scale`` * (x, y) + ``shift``.

    Attributes:
        objects: one outline each; polygons of one object are united.
        size: height and width of the picture that they are measured in.
        canvas: height and width of the masks to draw.
        window: left, top, right, bottom of what is still seen of the picture there.
    """

    objects: Sequence[Outline]
    size: tuple[int, int]
    canvas: tuple[int, int]
    window: tuple[float, float, float, float]
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, objects: Sequence[Outline], height: int, width: int) -> "Outlines":
        """The outlines of objects in a picture of this size."""
        return cls(objects, (height, width), (height, width), (0, 0, width, height))

    @classmethod
    def of_masks(cls, masks: NDArray[np.uint8]) -> "Outlines":
        """Those of masks [n, height, width], as run lengths."""
        return cls.of([run_lengths(mask) for mask in masks], *masks.shape[1:])

    def as_json(self) -> list[object]:
        """COCO's ``segmentation`` of each object: lists of x y x y ..., or run lengths."""
        if self != Outlines.of(self.objects, *self.size):
            return list(Outlines.of_masks(self.draw()).objects)
        return [each if isinstance(each, dict) else [polygon.ravel().tolist() for polygon in each]
                for each in self.objects]

    def __len__(self) -> int:
        return len(self.objects)

    def crop(self, left: int, top: int, right: int, bottom: int) -> "Outlines":
        """The inside of a rectangle, which may reach beyond the picture."""
        wide, high = right - left, bottom - top
        x1, y1, x2, y2 = self.window
        return dataclasses.replace(
            self, canvas=(high, wide), shift=(self.shift[0] - left, self.shift[1] - top),
            window=(max(x1 - left, 0), max(y1 - top, 0), min(x2 - left, wide),
                    min(y2 - top, high)))

    def resize(self, height: int, width: int) -> "Outlines":
        """The picture resized."""
        across, down = width / self.canvas[1], height / self.canvas[0]
        x1, y1, x2, y2 = self.window
        return dataclasses.replace(
            self, canvas=(height, width), scale=(self.scale[0] * across, self.scale[1] * down),
            shift=(self.shift[0] * across, self.shift[1] * down),
            window=(x1 * across, y1 * down, x2 * across, y2 * down))

    def flip(self) -> "Outlines":
        """The picture mirrored, left and right."""
        width = self.canvas[1]
        x1, y1, x2, y2 = self.window
        return dataclasses.replace(
            self, scale=(-self.scale[0], self.scale[1]),
            shift=(width - self.shift[0], self.shift[1]), window=(width - x2, y1, width - x1, y2))

    def rows(self, chosen: Sequence[bool]) -> "Outlines":
        """Those of some objects."""
        objects = [each for each, stays in zip(self.objects, chosen, strict=True) if stays]
        return dataclasses.replace(self, objects=objects)

    def draw(self) -> NDArray[np.uint8]:
        """uint8 [n, height, width], 1 where an object is.

        Raises:
            CorekitError: no package draws polygons here.
        """
        masks = np.zeros((len(self), *self.canvas), dtype=np.uint8)
        # a pixel is seen where its middle is
        left, top, right, bottom = (math.ceil(edge - 0.5) for edge in self.window)
        for mask, outline in zip(masks, self.objects):
            if isinstance(outline, dict):
                self._draw_run_lengths(mask[top:bottom, left:right], outline, left, top)
            else:
                for polygon in outline:
                    points = polygon * self.scale + self.shift
                    _draw_polygon(mask[top:bottom, left:right], points - (left, top))
        return masks

    def _draw_run_lengths(self, part: NDArray[np.uint8], outline: RunLengths, left: int,
                          top: int) -> None:
        """Each pixel is that of the picture in which its middle lies."""
        if not part.size:
            return
        pixels = decode_run_lengths(outline)
        rows, columns = (
            np.floor((first + np.arange(count) + 0.5 - shift) / scale).astype(int).clip(0, most - 1)
            for first, count, shift, scale, most in zip(
                (top, left), part.shape, self.shift[::-1], self.scale[::-1], self.size))
        part[:] = pixels[rows[:, None], columns]


def outline(annotation: object) -> Outline:
    """COCO's ``segmentation`` of an object; a ValueError where it is none."""
    if isinstance(annotation, dict):
        height, width = (int(side) for side in annotation["size"])
        counts = annotation["counts"]
        counts = listed_counts(counts) if isinstance(counts, (str, bytes)) else counts
        if np.asarray(counts).dtype.kind != "i" or min(counts) < 0 or sum(counts) != height * width:
            raise ValueError("run lengths do not fill their picture")
        return {"size": [height, width], "counts": counts}
    if not isinstance(annotation, list):
        raise ValueError("neither polygons nor run lengths")
    polygons = [np.array(each, dtype=np.float64) for each in annotation]
    # less than three points are no polygon, and COCO's package would take four numbers for a box
    polygons = [each.reshape(-1, 2) for each in polygons if each.size >= 6]
    if not polygons or not all((np.abs(each) < FURTHEST).all() for each in polygons):
        raise ValueError("no polygon of three points, or one that is far outside")
    return polygons


def _draw_polygon(part: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    """Draw into the rectangle around it alone, which gives the same pixels."""
    height, width = part.shape
    left, top = np.floor(points.min(0)).clip(0).astype(int).tolist()
    right, bottom = (np.ceil(points.max(0)) + 1).clip(max=(width, height)).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    shape = bottom - top, right - left
    encoded = mask_functions().frPyObjects([(points - (left, top)).ravel().tolist()], *shape)
    part[top:bottom, left:right] |= mask_functions().decode(encoded)[:, :, 0]


def listed_counts(encoded: str | bytes) -> list[int]:
    """Run lengths from COCO's compressed string; a ValueError where it is none.

    A number is written in letters of five bits each, the lowest first; from the fourth number on it
    is the difference to the last but one. COCO's package trusts that the string is sound.
    """
    letters = encoded.encode() if isinstance(encoded, str) else encoded
    counts: list[int] = []
    number = bits = 0
    for letter in letters:
        code = letter - 48
        if not 0 <= code < 64 or bits > 40:
            raise ValueError("no letter of a run length")
        number |= (code & 31) << bits
        bits += 5
        if code & 32:  # more of this number follow
            continue
        if code & 16:
            number -= 1 << bits
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = bits = 0
    return counts


def decode_run_lengths(outline: RunLengths) -> NDArray[np.uint8]:
    """uint8 [height, width] of run lengths."""
    size, counts = outline["size"], outline["counts"]
    values = np.arange(len(counts), dtype=np.uint8) % 2
    pixels: NDArray[np.uint8] = np.repeat(values, counts).reshape(size[::-1]).T
    return pixels


def run_lengths(mask: NDArray[np.uint8]) -> RunLengths:
    """A mask [height, width] as run lengths, down its columns, beginning with those of 0."""
    flat = mask.T.ravel() != 0
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[:1].any() else counts}


@cache
def mask_functions() -> ModuleType:
    """COCO's own drawing of polygons, of either package that has it."""
    try:
        from faster_coco_eval.core import mask
    except ImportError:
        try:
            from pycocotools import mask
        except ImportError:
            raise CorekitError("masks stored as polygons or compressed run lengths, and evaluating "
                               "detection, need the package faster-coco-eval: pip install "
                               "'corekit[detection]'") from None
    module: ModuleType = mask
    return module
