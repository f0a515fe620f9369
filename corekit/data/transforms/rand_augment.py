"""Stronger augmentation than a crop: RandAugment and colour jitter."""

import math
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter, InterpolationMode
from torchvision.transforms.v2 import functional as F

from corekit.data.transforms.preprocess import Preprocess, RandomResizedCrop
from corekit.errors import CorekitError
from corekit.registry import register

Fill = list[float]
# image uint8 [3, H, W], level from -1 to 1, colour of what lies outside
Operation = Callable[[Tensor, float, Fill], Tensor]


@register("transform", "rand_augment")
class RandAugment(RandomResizedCrop):
    """A random crop, then RandAugment (Cubuk et al., 2020), then colour jitter, drawing from
    torch's generator.

    RandAugment is the variant that timm calls ``rand-m9-mstd0.5-inc1``: of fifteen operations
    ``operations`` are drawn, each is done with probability 1/2 at a level of ``magnitude`` out of
    10, normally distributed with ``magnitude_std``, and all change more at a higher level. What
    comes in from outside has the colour of the mean. (timm leaves colour jitter out where it does
    RandAugment.)

    Args:
        preprocess: gives size, interpolation and mean.
        scale, ratio, flip, scaled_decoding: as of random_resized_crop.
        operations: of RandAugment for a picture.
        magnitude: of each, from 0 to 10.
        magnitude_std: how much it varies.
        color_jitter: most change of brightness, contrast and saturation, up or down; 0: none.

    Raises:
        CorekitError: an argument out of range.
    """

    def __init__(self, preprocess: Preprocess, scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (0.75, 1.3333), flip: float = 0.5,
                 scaled_decoding: bool = True, operations: int = 2, magnitude: float = 9.0,
                 magnitude_std: float = 0.5, color_jitter: float = 0.0) -> None:
        super().__init__(preprocess, scale, ratio, flip, scaled_decoding)
        if (operations < 0 or not 0 <= magnitude <= 10 or magnitude_std < 0
                or not 0 <= color_jitter <= 1):
            raise CorekitError("transform 'rand_augment' needs operations and magnitude_std of 0 "
                               "or more, magnitude from 0 to "
                               "10 and color_jitter from 0 to 1")
        self.operations, self.magnitude, self.magnitude_std = operations, magnitude, magnitude_std
        self.fill = [float(round(255 * mean)) for mean in preprocess.mean]
        self.jitter = ColorJitter(color_jitter, color_jitter,
                                  color_jitter) if color_jitter else None

    def __call__(self, image: Image.Image, size: int | None = None) -> Tensor:
        """uint8 [3, size, size]; the model's size where the step has none of its own."""
        made = super().__call__(image, size)
        for _ in range(self.operations):
            operation = list(OPERATIONS.values())[int(torch.randint(len(OPERATIONS), ()))]
            skipped, negative = torch.rand(2).lt(0.5).tolist()
            level = min(10.0, max(0.0, self.magnitude + self.magnitude_std * float(torch.randn(
                ())))) / 10
            if not skipped:
                made = operation(made, -level if negative else level, self.fill)
        return self.jitter(made) if self.jitter is not None else made


def _affine(image: Tensor, fill: Fill, angle: float = 0.0, move: tuple[float, float] = (0.0, 0.0),
            shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Turned about the centre, moved by a share of the side, or sheared by a tangent, the upper
    left corner in its place.
    """
    height, width = image.shape[1:]
    moved: Tensor = F.affine(
        image, angle, [round(move[0] * width), round(move[1] * height)], 1.0,
        [math.degrees(math.atan(tangent))
         for tangent in shear], InterpolationMode.BILINEAR, fill, [0, 0] if any(shear) else None)
    return moved


def _posterize(image: Tensor, level: float, fill: Fill) -> Tensor:
    kept = 4 - int(4 * abs(level))  # bits
    posterized: Tensor = F.posterize(image, kept)
    return posterized


def _solarize(image: Tensor, level: float, fill: Fill) -> Tensor:
    threshold = 256 - int(256 * abs(level))
    if threshold > 255:  # torchvision refuses it
        return image
    solarized: Tensor = F.solarize(image, threshold)
    return solarized


def _solarize_add(image: Tensor, level: float, fill: Fill) -> Tensor:
    return torch.where(image < 128,
                       (image.int() + int(110 * abs(level))).clamp(max=255).to(torch.uint8), image)


def _enhance(adjust: Callable[[Tensor, float], Tensor]) -> Operation:
    return lambda image, level, fill: adjust(image, max(0.1, 1 + 0.9 * level))


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, level, fill: F.autocontrast(image),
    "Equalize": lambda image, level, fill: F.equalize(image),
    "Invert": lambda image, level, fill: F.invert(image),
    "Rotate": lambda image, level, fill: _affine(image, fill, angle=30 * level),
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _enhance(F.adjust_saturation),
    "Contrast": _enhance(F.adjust_contrast),
    "Brightness": _enhance(F.adjust_brightness),
    "Sharpness": _enhance(F.adjust_sharpness),
    "ShearX": lambda image, level, fill: _affine(image, fill, shear=(0.3 * level, 0.0)),
    "ShearY": lambda image, level, fill: _affine(image, fill, shear=(0.0, 0.3 * level)),
    "TranslateX": lambda image, level, fill: _affine(image, fill, move=(0.45 * level, 0.0)),
    "TranslateY": lambda image, level, fill: _affine(image, fill, move=(0.0, 0.45 * level)),
}
