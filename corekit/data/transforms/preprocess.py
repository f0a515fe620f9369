"""What turns a picture into a model's input, and the random crops that training uses instead."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from corekit.data.transforms.decode import LazyJpeg
from corekit.errors import CorekitError
from corekit.registry import register

_PIL = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, crop the centre, scale to [0, 1], subtract ``mean``, divide by
    ``std``.

    Args:
        size: pixels of the square the model sees.
        interpolation: bilinear or bicubic, antialiased.
        mean, std: of the three channels, for values in [0, 1].
        crop_fraction: ``size`` over the shorter side that the picture is resized to, which is
            rounded: 0.9655 for 224 of 232.
    """

    size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.interpolation not in _PIL:
            raise CorekitError(f"interpolation '{self.interpolation}' is neither bilinear nor "
                               f"bicubic")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.size < 1 or not (
                0 < self.crop_fraction <= 1):
            raise CorekitError("preprocessing needs a positive size, three values of mean and of "
                               "std > 0, and a crop_fraction "
                               "above 0 and up to 1")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    def __call__(self, image: Image.Image) -> Tensor:
        """float32 [3, size, size] of one picture."""
        return self.normalize(self.crop(image)[None])[0]

    def crop(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size]: the centre of the picture, resized."""
        image = _at_most_two_to_one(image.convert("RGB"))
        short, resized = min(image.size), round(self.size / self.crop_fraction)
        # rounded down, as torchvision does
        width, height = (int(resized * side / short) for side in image.size)
        if (width, height) != image.size:
            image = image.resize((width, height), _PIL[self.interpolation])
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return to_tensor(image.crop((left, top, left + self.size, top + self.size)))

    def normalize(self, images: Tensor) -> Tensor:
        """float32 of uint8 images [B, 3, H, W], on the device where they are."""
        shape = (1, 3, 1, 1)
        scale = torch.tensor([1 / (255 * std) for std in self.std],
                             device=images.device).view(shape)
        shift = torch.tensor([mean / std for mean, std in zip(self.mean, self.std)],
                             device=images.device).view(shape)
        return images.float().mul_(scale).sub_(shift)

    def save(self, path: Path) -> None:
        """Write ``preprocess.json``."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Preprocess":
        """Read ``preprocess.json``; a CorekitError where it is missing or not one."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CorekitError(
                f"{path} is not a preprocessing that corekit saved: {error}") from None


def _at_most_two_to_one(image: Image.Image) -> Image.Image:
    """The middle of a very long picture: resized whole, 3 x 5,000 pixels would become 256 x
    426,666.
    """
    width, height = min(image.width, 2 * image.height), min(image.height, 2 * image.width)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if image.size == (width, height) else image.crop(
        (left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 [3, H, W] of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@register("transform", "random_resized_crop")
class RandomResizedCrop:
    """A random part of the picture, resized to the model's size; torchvision's, drawing from
    torch's generator.

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

    def __init__(self, preprocess: Preprocess, scale: tuple[float, float] = (0.9, 1.0),
                 ratio: tuple[float, float] = (0.75, 1.3333), flip: float = 0.0,
                 scaled_decoding: bool = True) -> None:
        self.size, self.interpolation = preprocess.size, preprocess.interpolation
        self.scale, self.ratio, self.flip = list(scale), list(ratio), flip
        self.scaled_decoding = scaled_decoding

    def __call__(self, image: Image.Image, size: int | None = None) -> Tensor:
        """uint8 [3, size, size]; the model's size where the step has none of its own."""
        size = size or self.size
        # before pixels are decoded
        top, left, height, width = TorchvisionCrop.get_params(image, self.scale, self.ratio)
        factor = 1
        if self.scaled_decoding and isinstance(image, LazyJpeg):
            factor = image.shrink(min(height, width) // size)
        edges = [round(edge / factor) for edge in (left, top, left + width, top + height)]
        part = (image if image.mode == "RGB" else image.convert("RGB")).crop(tuple(edges))
        pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1)[None]
        # torch has a fast kernel for images whose channels lie side by side, as Pillow lays them
        cropped = F.interpolate(pixels, (size, size), mode=self.interpolation,
                                antialias=True)[0].contiguous()
        return cropped.flip(-1) if self.flip and torch.rand(()).item() < self.flip else cropped


@register("transform", "center_crop")
class CenterCrop:
    """No augmentation: training sees what evaluation sees."""

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess

    def __call__(self, image: Image.Image, size: int | None = None) -> Tensor:
        """uint8 [3, size, size]; the model's size where the step has none of its own."""
        return replace(self.preprocess, size=size or self.preprocess.size).crop(image)
