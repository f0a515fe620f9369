"""Whole pictures resized for models that say where things are."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from corekit.data.transforms.preprocess import RESAMPLING, to_tensor

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class WholePicture:
    """Resizes a picture by Pillow and cuts nothing off; what is padded is black, right and below.

    ``size`` is pixels of a side. Without ``keep_aspect`` the picture fills this square, as in
    CoreNet's evaluation. With it the longest side gets ``size`` pixels and the rest of the square
    is padded, as in ViTDet's; or, where ``longest`` is set, the shortest side gets ``size`` but the
    longest at most ``longest``, padded to multiples of 32, so that pictures differ in shape.
    """

    size: int
    interpolation: str  # bilinear or bicubic
    keep_aspect: bool = True
    longest: int | None = None

    def content(self, own: Size) -> Size:
        """The size that a picture of its own size gets, without the padding."""
        if not self.keep_aspect:
            return self.size, self.size
        factor = min((self.longest or self.size) / max(own), self.size / min(own))
        height, width = (max(1, round(side * factor)) for side in own)
        return height, width

    def padded(self, own: Size) -> Size:
        """The size of what the model sees of it."""
        if not self.keep_aspect or self.longest is None:
            return self.size, self.size
        height, width = (-(-side // 32) * 32 for side in self.content(own))
        return height, width

    def __call__(self, image: Image.Image) -> Tensor:
        """uint8 [3, H, W] of a picture."""
        own = image.height, image.width
        (height, width), (tall, wide) = self.content(own), self.padded(own)
        image = image.convert("RGB")
        if (height, width) != own:
            image = image.resize((width, height), RESAMPLING[self.interpolation])
        return F.pad(to_tensor(image), (0, wide - width, 0, tall - height))

    def own_picture(self, image: Tensor, own: Size) -> NDArray[np.uint8]:
        """A picture uint8 [H, W, 3] of its own size, from what the model sees of it."""
        height, width = self.content(own)
        content = Image.fromarray(image[:, :height, :width].permute(1, 2, 0).numpy())
        return np.asarray(content.resize(own[::-1], RESAMPLING[self.interpolation]))
