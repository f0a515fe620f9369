"""A part of a picture at another size, decoded no larger than it must be."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from corekit.data.transforms.decode import LazyJpeg

Part = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture


def resized_part(image: Image.Image, part: Part, size: tuple[int, int], interpolation: str,
                 scaled_decoding: bool = True) -> tuple[Tensor, Part]:
    """A part of a picture resized to ``size`` (height, width), and which part it is.

    Torch resizes it, within two of 255 levels of Pillow and four times as fast. With
    ``scaled_decoding`` a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the part still is at
    least as large as asked for: then its edges are rounded to pixels of the smaller picture.

    Returns:
        uint8 [3, height, width], and the edges of the part in pixels of the picture.
    """
    left, top, right, bottom = part
    is_whole = part == (0, 0, *image.size)
    factor = 1
    if scaled_decoding and isinstance(image, LazyJpeg):
        factor = image.shrink(min((bottom - top) // size[0], (right - left) // size[1]))
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    if not is_whole:
        left, top, right, bottom = (round(edge / factor) for edge in part)
        part = factor * left, factor * top, factor * right, factor * bottom
        rgb = rgb.crop((left, top, right, bottom))
    # torch has a fast kernel for images whose channels lie side by side, as Pillow lays them
    pixels = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None]
    if (rgb.height, rgb.width) != size:
        pixels = F.interpolate(pixels, size, mode=interpolation, antialias=True)
    return pixels[0].contiguous(), part
