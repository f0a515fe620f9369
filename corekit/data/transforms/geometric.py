"""Crops: the random part of a picture that training sees, and the centre that evaluation sees."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from corekit.data.datasets.base import Sample
from corekit.data.transforms.base import ALL, SampleTransform
from corekit.data.transforms.moving import Placed, crop, cut_out, move, resize
from corekit.data.transforms.pixels import resized_part
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register


def check_part(transform: str, scale: Sequence[float], ratio: Sequence[float],
               flip: float) -> None:
    """Refuse a random part of a picture that cannot be drawn: torchvision takes the centre then."""
    if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1] and 0 <= flip <= 1):
        raise CorekitError(f"transform '{transform}' needs a scale between 0 and 1 and a ratio "
                           f"above 0, smallest first, not {[*scale]} and {[*ratio]}, and a flip "
                           f"from 0 to 1, not {flip:g}")


@register("transform", "random_resized_crop")
class RandomResizedCrop(SampleTransform):
    """torchvision's random crop, resized to the model's size, drawing from torch's generator.

    The part is resized by torch, within two of 255 levels of Pillow and four times as fast. A JPEG
    is decoded at 1/2, 1/4 or 1/8 of its size where the part still is at least the model's size:
    downscaling remains downscaling. That changes pixels by about one of 255 levels on average
    (bilinear instead of bicubic: 0.8), and the edges of the part are rounded to pixels of the
    smaller picture, at most half a pixel of the result away from where they were drawn.

    Args:
        preprocess: gives size and interpolation.
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest width / height.
        flip: probability of a horizontal mirror image.
        scaled_decoding: False: every JPEG is decoded in full.
    """

    moves_outlines = True

    def __init__(self, preprocess: Preprocess, scale: tuple[float, float] = (0.9, 1.0),
                 ratio: tuple[float, float] = (0.75, 1.3333), flip: float = 0.0,
                 scaled_decoding: bool = True) -> None:
        check_part("random_resized_crop", scale, ratio, flip)
        self.size, self.interpolation = preprocess.size, preprocess.interpolation
        self.scale, self.ratio, self.flip = list(scale), list(ratio), flip
        self.scaled_decoding = scaled_decoding

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size] of the part, and what else is in it."""
        size = size or self.size
        image: Image.Image = sample["image"]
        # before pixels are decoded
        top, left, height, width = TorchvisionCrop.get_params(image, self.scale, self.ratio)
        part = left, top, left + width, top + height
        cropped, part = resized_part(image, part, (size, size), self.interpolation,
                                     self.scaled_decoding)
        flip = bool(self.flip) and torch.rand(()).item() < self.flip
        output = cut_out(sample, part, (size, size), flip)
        return {**output, "image": cropped.flip(-1) if flip else cropped}


@register("transform", "center_crop")
class CenterCrop(SampleTransform):
    """No augmentation: training sees what evaluation sees.

    Of ``pictures``, which a sample may have several of, each becomes as many tiles as the
    preprocessing has for it: uint8 [t, 3, size, size].
    """

    moves = ALL | {"pictures"}
    moves_outlines = True

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size] of the centre, and what else is in it."""
        preprocess = self.preprocess if size is None else replace(self.preprocess, size=size)
        if "pictures" in sample:
            tiles = [preprocess.tiles_of(picture) for picture in sample["pictures"]]
            sample = {**sample, "pictures": tiles}
        if "image" not in sample:
            return sample
        image: Image.Image = sample["image"]
        middle, (width, height), begin = preprocess.geometry(*image.size)

        def step(value: Placed) -> Placed:
            part = crop(value, *middle)
            square = (*begin, begin[0] + preprocess.size, begin[1] + preprocess.size)
            return crop(resize(part, (height, width)), *square)

        return {**move(sample, step), "image": preprocess.crop(image)}
