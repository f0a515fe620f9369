"""The preprocessing of a picture without randomness, kept beside the weights."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from corekit.data.transforms.decode import MAX_PIXELS
from corekit.data.transforms.tiling import MOST_TILES, best_grid, centred, cut_tiles, fitted
from corekit.errors import CorekitError

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
RESIZE_MODES = ("shortest", "squash", "longest", "pad")
CROP_ROUNDINGS = ("even", "down")
LONGEST = 100  # times its shorter side: a longer picture is cut before it is resized
LARGEST_SQUARE = math.isqrt(MAX_PIXELS)  # a side; a longer picture is padded when it is smaller

Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Preprocess:
    """Resize, take the square in the middle, scale to [0, 1], normalise by ``mean`` and ``std``.

    ``crop_fraction`` is ``size`` over the side that the picture is resized to, which is rounded:
    0.9655 for 224 of 232. Pixels equal those of torchvision's Resize and CenterCrop on a Pillow
    picture, and those of open_clip in its three modes, to the bit: a picture is resized in its own
    colour mode and made RGB afterwards. In mode ``pad`` the picture, in RGB, is first put into the
    middle of a square of the mean colour, as transformers' LlavaImageProcessor does with
    ``do_pad``: its pixels equal those of its Pillow backend to the bit.
    """

    size: int  # pixels of the square the model sees
    interpolation: str  # bilinear or bicubic, antialiased
    mean: tuple[float, float, float]  # of the three channels, for values in [0, 1]
    std: tuple[float, float, float]
    crop_fraction: float = 1.0
    # which side gets the new length: the shorter, the longer (then padded), both (squash), or
    # those of the square that it is padded to before (pad)
    resize: str = "shortest"
    fill: int = 0  # level from 0 to 255 of what lies beside a picture that is padded
    # where half a pixel is left over: even, as torchvision rounds, or down, as transformers does
    crop_rounding: str = "even"
    tiles: int = 1  # most tiles of a picture that stands in a conversation, beside the whole of it

    def __post_init__(self) -> None:
        for name, choices in (("interpolation", tuple(RESAMPLING)), ("resize", RESIZE_MODES),
                              ("crop_rounding", CROP_ROUNDINGS)):
            if getattr(self, name) not in choices:
                raise CorekitError(f"{name} '{getattr(self, name)}' of a preprocessing is none of "
                                   f"{', '.join(choices)}")
        is_valid = len(self.mean) == len(self.std) == 3 and min(self.std) > 0 and self.size > 0
        if not 1 <= self.tiles <= MOST_TILES:
            raise CorekitError(f"a preprocessing has tiles from 1 to {MOST_TILES}, not "
                               f"{self.tiles}")
        if not is_valid or not 0 < self.crop_fraction <= self.size or not 0 <= self.fill <= 255:
            raise CorekitError("preprocessing needs a positive size, three values of mean and of "
                               "std > 0, a crop_fraction above 0 that leaves a pixel of the "
                               "picture, and a fill from 0 to 255")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    def __call__(self, image: Image.Image) -> Tensor:
        """float32 [3, size, size] of one picture."""
        return self.normalize(self.crop(image)[None])[0]

    def crop(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size]: the centre of the picture, resized."""
        middle, resized, (left, top) = self.geometry(*image.size)
        if self.resize == "pad":
            image = self._squared(image)
        elif middle != (0, 0, *image.size):
            image = image.crop(middle)
        if resized != image.size:
            image = image.resize(resized, RESAMPLING[self.interpolation])
        right, bottom = left + self.size, top + self.size
        padding = [max(0, -left), max(0, -top),
                   max(0, right - resized[0]), max(0, bottom - resized[1])]
        if any(padding):
            from torchvision.transforms.functional import pad  # takes two seconds to import

            image = pad(image, padding, fill=self.fill)
        left, top = max(0, left), max(0, top)
        return to_tensor(image.crop((left, top, left + self.size, top + self.size)).convert("RGB"))

    def tiles_of(self, image: Image.Image) -> Tensor:
        """uint8 [t, 3, size, size]: the whole picture by ``crop``, then its tiles line by line.

        There are none where ``tiles`` is 1 or ``best_grid`` has a single one. They show the whole
        picture in the middle of the mean colour, whatever ``resize`` is.
        """
        whole = self.crop(image)[None]
        rows, columns = best_grid(*image.size, self.size, self.tiles)
        if rows * columns == 1:
            return whole
        canvas = fitted(image, columns * self.size, rows * self.size,
                        RESAMPLING[self.interpolation], self.mean_colour)
        return torch.cat([whole, cut_tiles(to_tensor(canvas), rows, columns)])

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """Levels from 0 to 255 of what lies beside a picture, as LLaVA rounds them."""
        red, green, blue = (int(255 * level) for level in self.mean)
        return red, green, blue

    def _squared(self, image: Image.Image) -> Image.Image:
        """The picture in the middle of a square, no larger than the largest picture."""
        image = image.convert("RGB").reduce(-(-max(image.size) // LARGEST_SQUARE))
        side = max(image.size)
        return centred(image, side, side, self.mean_colour)

    def geometry(self, width: int, height: int) -> tuple[Box, tuple[int, int], tuple[int, int]]:
        """The rectangles and sizes of ``crop`` for a picture of this size.

        Returns:
            the part of it that is resized (left, top, right, bottom), of mode ``pad`` the square
            around it; the (width, height) that this part gets; and where the square begins in it
            (left, top), below 0 where the square is larger.
        """
        sides = width, height
        resized = self._resized(width, height)
        begin = [self._begin(side) for side in resized]
        edges = [(0, width), (0, height)]
        longer = int(height > width)
        if self.resize == "pad":
            first = (sides[longer] - min(sides)) // 2
            edges[1 - longer] = -first, sides[longer] - first
        if self.resize == "shortest" and sides[longer] > LONGEST * min(sides):
            edges[longer], short = _middle(sides[longer], min(sides), resized[longer])
            begin[longer] -= (resized[longer] - short) // 2
            resized[longer] = short
        (left, right), (top, bottom) = edges
        return (left, top, right, bottom), (resized[0], resized[1]), (begin[0], begin[1])

    def _resized(self, width: int, height: int) -> list[int]:
        """The (width, height) that a whole picture gets."""
        target = round(self.size / self.crop_fraction)
        if self.resize in ("squash", "pad"):
            return [target, target]
        if self.resize == "longest":  # to the nearest pixel, as open_clip does
            ratio = max(width / target, height / target)
            return [max(1, round(width / ratio)), max(1, round(height / ratio))]
        # rounded down, as torchvision does
        return [int(target * side / min(width, height)) for side in (width, height)]

    def _begin(self, side: int) -> int:
        """Where the square begins in a side of this length; below 0 where it is longer."""
        if self.crop_rounding == "down":
            return (side - self.size) // 2
        half = (side - self.size) / 2
        return round(half) if half > 0 else int(half)

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


def _middle(long: int, shorter: int, resized: int) -> tuple[tuple[int, int], int]:
    """The edges of the middle of a long side, and the length that it gets.

    3 x 5,000 pixels would become 256 x 426,666. As much is cut off at both ends, before and after
    resizing, so that the middle of the picture stays where it is.

    Args:
        long: the long side of the picture.
        shorter: its other side.
        resized: the length that the whole long side would get.
    """
    part = LONGEST * shorter + (long - LONGEST * shorter) % 2
    odd = resized % 2
    first = (long - part) // 2
    return (first, first + part), 2 * round((part * resized / long - odd) / 2) + odd


def to_tensor(image: Image.Image) -> Tensor:
    """uint8 [3, H, W] of an RGB picture."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
