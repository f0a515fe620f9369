"""Transforms that keep the whole picture, for what is to be found at any place of it."""

import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from corekit.data.datasets.base import Sample
from corekit.data.transforms.base import SampleTransform
from corekit.data.transforms.moving import Placed, crop, cut_out, move
from corekit.data.transforms.pixels import Part, resized_part
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register


def is_drawn(probability: float) -> bool:
    """One draw from torch's generator, where there is something to draw."""
    return bool(probability) and torch.rand(()).item() < probability


def check_flip(transform: str, flip: float) -> None:
    """Refuse what is no probability."""
    if not 0 <= flip <= 1:
        raise CorekitError(f"transform '{transform}' needs a flip from 0 to 1, not {flip:g}")


def resized(sample: Sample, part: Part, size: tuple[int, int], interpolation: str,
            scaled_decoding: bool, flip: bool) -> Sample:
    """A part of a picture and what else it holds, resized to (height, width), perhaps mirrored."""
    pixels, part = resized_part(sample["image"], part, size, interpolation, scaled_decoding)
    output = cut_out({**sample, "image": None}, part, size, flip)
    return {**output, "image": pixels.flip(-1) if flip else pixels}


def pad(sample: Sample, height: int, width: int) -> Sample:
    """The sample with its picture grown to a size, right and below; masks that have it stay."""
    def step(value: Placed) -> Placed:
        return crop(value, 0, 0, width, height)

    image: Tensor = sample["image"]
    margins = (0, width - image.shape[2], 0, height - image.shape[1])
    if not any(margins):
        return sample
    return {**move({**sample, "image": None}, step), "image": F.pad(image, margins)}


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
        whole = 0, 0, *image.size
        return resized(sample, whole, (side, side), self.interpolation, self.scaled_decoding,
                       is_drawn(self.flip))


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
        output = resized(sample, (0, 0, width, height), (high, wide), self.interpolation,
                         self.scaled_decoding, is_drawn(self.flip))
        return pad(output, *(-(-side // self.divisor) * self.divisor for side in (high, wide)))
