"""Logits of pixels at the size of the picture itself."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from corekit.data.loading.whole_picture import Size, WholePicture


def picture_logits(segment: Callable[..., Any], images: Tensor, resize: WholePicture, own: Size,
                   size: Size | None = None) -> Tensor:
    """Logits [B, K, H, W] of pictures of one own size, interpolated once.

    What was padded is cut off. ``size`` is another one than the pictures' own.
    """
    size = size or own
    sides = zip(size, resize.padded(own), resize.content(own))
    grown = tuple(round(side * padded / content) for side, padded, content in sides)
    logits: Tensor = segment(images, grown)
    return logits[:, :, :size[0], :size[1]]
