"""The preprocessing of a picture without randomness, kept beside the weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from corekit.errors import CorekitError

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, crop the centre, scale to [0, 1], normalise by ``mean`` and ``std``.

    ``crop_fraction`` is ``size`` over the shorter side that the picture is resized to, which is
    rounded: 0.9655 for 224 of 232.
    """

    size: int  # pixels of the square the model sees
    interpolation: str  # bilinear or bicubic, antialiased
    mean: tuple[float, float, float]  # of the three channels, for values in [0, 1]
    std: tuple[float, float, float]
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.interpolation not in RESAMPLING:
            raise CorekitError(f"interpolation '{self.interpolation}' is neither bilinear nor "
                               "bicubic")
        is_valid = len(self.mean) == len(self.std) == 3 and min(self.std) > 0 and self.size > 0
        if not is_valid or not 0 < self.crop_fraction <= 1:
            raise CorekitError("preprocessing needs a positive size, three values of mean and of "
                               "std > 0, and a crop_fraction above 0 and up to 1")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    def __call__(self, image: Image.Image) -> Tensor:
        """float32 [3, size, size] of one picture."""
        return self.normalize(self.crop(image)[None])[0]

    def crop(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size]: the centre of the picture, resized."""
        middle, (width, height), (left, top) = self.geometry(*image.size)
        image = image.convert("RGB")
        if middle != (0, 0, *image.size):
            image = image.crop(middle)
        if (width, height) != image.size:
            image = image.resize((width, height), RESAMPLING[self.interpolation])
        return to_tensor(image.crop((left, top, left + self.size, top + self.size)))

    def geometry(self, width: int, height: int
                 ) -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
        """The rectangles and sizes of ``crop`` for a picture of this size.

        Returns:
            the part of it that is resized (left, top, right, bottom), the (width, height) that
            this part gets, and where the square begins in it (left, top).
        """
        left, top, right, bottom = _at_most_two_to_one(width, height)
        part = right - left, bottom - top
        shorter = round(self.size / self.crop_fraction)
        # rounded down, as torchvision does
        wide, high = (int(shorter * side / min(part)) for side in part)
        begin = round((wide - self.size) / 2), round((high - self.size) / 2)
        return (left, top, right, bottom), (wide, high), begin

    def normalize(self, images: Tensor) -> Tensor:
        """float32 of uint8 images [B, 3, H, W], on the device where they are."""
        rows = [[1 / (255 * std) for std in self.std],
                [mean / std for mean, std in zip(self.mean, self.std)]]
        scale, shift = torch.tensor(rows, device=images.device).view(2, 1, 3, 1, 1)
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
            raise CorekitError(f"{path} is not a preprocessing that corekit saved: "
                               f"{error}") from None


def _at_most_two_to_one(width: int, height: int) -> tuple[int, int, int, int]:
    """The middle of a very long picture, since 3 x 5,000 pixels would become 256 x 426,666."""
    wide, high = min(width, 2 * height), min(height, 2 * width)
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 [3, H, W] of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
