"""Transforms that keep the whole picture, for what is to be found at any place of it."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from corekit.data.datasets.base import Sample
from corekit.data.transforms.base import SampleTransform
from corekit.data.transforms.decode import LazyJpeg
from corekit.data.transforms.moving import crop, cut_out, move
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register


def resized_part(image: Image.Image, edges: tuple[int, int, int, int], height: int, width: int,
                 interpolation: str) -> Tensor:
    """uint8 [3, height, width] of a part (left, top, right, bottom) of a picture."""
    part = image if image.mode == "RGB" else image.convert("RGB")
    if edges != (0, 0, *image.size):
        part = part.crop(edges)
    # torch has a fast kernel for images whose channels lie side by side, as Pillow lays them
    pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1)[None]
    if (part.height, part.width) != (height, width):
        pixels = F.interpolate(pixels, (height, width), mode=interpolation, antialias=True)
    return pixels[0].contiguous()


def resized(image: Image.Image, height: int, width: int, interpolation: str,
            scaled_decoding: bool = False) -> Tensor:
    """uint8 [3, height, width] of a whole picture.

    With ``scaled_decoding`` a JPEG is decoded smaller where that still is at least this size.
    """
    if scaled_decoding and isinstance(image, LazyJpeg):
        image.shrink(min(image.height // height, image.width // width))
    return resized_part(image, (0, 0, *image.size), height, width, interpolation)


def is_drawn(probability: float) -> bool:
    """One draw from torch's generator, where there is something to draw."""
    return bool(probability) and torch.rand(()).item() < probability


def check_flip(transform: str, flip: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= flip <= 1:
        raise CorekitError(f"transform '{transform}' needs a flip from 0 to 1, not {flip:g}")


def pad(sample: Sample, height: int, width: int) -> Sample:
    """The sample with its picture grown to a size, right and below, where masks are empty."""
    image: Tensor = sample["image"]
    if tuple(image.shape[1:]) == (height, width):
        return sample
    moved = move({**sample, "image": None}, lambda value: crop(value, 0, 0, width, height))
    margins = (0, width - image.shape[2], 0, height - image.shape[1])
    return {**moved, "image": F.pad(image, margins)}


@register("transform", "square_resize")
class SquareResize(SampleTransform):
    """The whole picture resized to the model's size, whatever its shape, and perhaps mirrored.

    Args:
        preprocess: gives size and interpolation.
        flip: probability of a horizontal mirror image.
        scaled_decoding: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size first.
    """

    moves_outlines = True

    def __init__(self, preprocess: Preprocess, flip: float = 0.0,
                 scaled_decoding: bool = True) -> None:
        check_flip("square_resize", flip)
        self.size, self.interpolation = preprocess.size, preprocess.interpolation
        self.flip, self.scaled_decoding = flip, scaled_decoding

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size], and what else is in it."""
        side = size or self.size
        image: Image.Image = sample["image"]
        width, height = image.size
        flip = is_drawn(self.flip)
        output = cut_out(sample, 0, 0, height, width, (side, side), flip)
        pixels = resized(image, side, side, self.interpolation, self.scaled_decoding)
        return {**output, "image": pixels.flip(-1) if flip else pixels}


@register("transform", "shortest_side")
class ShortestSide(SampleTransform):
    """The whole picture resized such that its shorter side has a length, and perhaps mirrored.

    Args:
        preprocess: gives the interpolation, and the size where ``shortest`` is None.
        shortest: pixels of the shorter side; in a step with a size of its own it is that one.
        longest: most pixels of the longer side, to which the picture is made smaller; in a step
            with a size of its own it grows or shrinks alike. 0: no limit.
        divisor: of height and width, which zeros right and below fill up.
        flip: probability of a horizontal mirror image.
        scaled_decoding: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size first.
    """

    moves_outlines = True

    def __init__(self, preprocess: Preprocess, shortest: int | None = None, longest: int = 0,
                 divisor: int = 1, flip: float = 0.0, scaled_decoding: bool = True) -> None:
        check_flip("shortest_side", flip)
        self.shortest, self.longest = shortest or preprocess.size, longest
        if min(self.shortest, divisor) < 1 or longest < 0:
            raise CorekitError("transform 'shortest_side' needs shortest and divisor above 0, and "
                               f"longest from 0 on, not {shortest}, {divisor} and {longest}")
        self.divisor, self.interpolation = divisor, preprocess.interpolation
        self.flip, self.scaled_decoding = flip, scaled_decoding

    def resized_size(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """Height and width of the resized picture, without what fills it up."""
        shortest = size or self.shortest
        longest = self.longest * shortest / self.shortest or math.inf
        factor = min(shortest / min(height, width), longest / max(height, width))
        return max(1, round(height * factor)), max(1, round(width * factor))

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, H, W], and what else is in it."""
        image: Image.Image = sample["image"]
        width, height = image.size
        high, wide = self.resized_size(height, width, size)
        flip = is_drawn(self.flip)
        output = cut_out(sample, 0, 0, height, width, (high, wide), flip)
        pixels = resized(image, high, wide, self.interpolation, self.scaled_decoding)
        output["image"] = pixels.flip(-1) if flip else pixels
        return pad(output, *(-(-side // self.divisor) * self.divisor for side in (high, wide)))
