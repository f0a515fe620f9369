"""Stronger augmentation than a crop: RandAugment and colour jitter."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter, InterpolationMode
from torchvision.transforms.v2 import functional as F

from corekit.data.datasets.base import Sample
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.moving import Movement, turn
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register

Fill = list[float]
# image uint8 [3, H, W], level from -1 to 1, colour of what lies outside
Operation = Callable[[Tensor, float, Fill], Tensor]


@register("transform", "rand_augment")
class RandAugment(RandomResizedCrop):
    """A random crop, then RandAugment (Cubuk et al., 2020), then colour jitter.

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
                               "or more, magnitude from 0 to 10 and color_jitter from 0 to 1")
        self.operations, self.magnitude, self.magnitude_std = operations, magnitude, magnitude_std
        self.fill = [float(round(255 * mean)) for mean in preprocess.mean]
        change = (color_jitter, color_jitter, color_jitter)  # brightness, contrast, saturation
        self.jitter = ColorJitter(*change) if color_jitter else None

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size], and what else is in the picture."""
        sample = super().transform(sample, size)
        image: Tensor = sample["image"]
        for _ in range(self.operations):
            name = list(OPERATIONS)[int(torch.randint(len(OPERATIONS), ()))]
            skipped, negative = torch.rand(2).lt(0.5).tolist()
            magnitude = self.magnitude + self.magnitude_std * float(torch.randn(()))
            if skipped:
                continue
            level = min(10.0, max(0.0, magnitude)) / (-10 if negative else 10)
            image = OPERATIONS[name](image, level, self.fill)
            if name in MOVEMENTS:
                sample = turn(sample, MOVEMENTS[name](level, *image.shape[1:]))
        return {**sample, "image": image if self.jitter is None else self.jitter(image)}


def _degrees(level: float) -> float:
    return math.degrees(math.atan(0.3 * level))


# of a level from -1 to 1 and a picture's height and width: turned about the centre, moved by a
# share of the side, or sheared by a tangent, the upper left corner in its place
MOVEMENTS: dict[str, Callable[[float, int, int], Movement]] = {
    "Rotate": lambda level, height, width: Movement(angle=30 * level),
    "ShearX": lambda level, height, width: Movement(
        shear=(_degrees(level), 0.0), center=(0, 0) if level else None),
    "ShearY": lambda level, height, width: Movement(
        shear=(0.0, _degrees(level)), center=(0, 0) if level else None),
    "TranslateX": lambda level, height, width: Movement(translate=(round(0.45 * level * width), 0)),
    "TranslateY": lambda level, height, width: Movement(
        translate=(0, round(0.45 * level * height))),
}


def _moved(name: str) -> Operation:
    def operation(image: Tensor, level: float, fill: Fill) -> Tensor:
        to = MOVEMENTS[name](level, *image.shape[1:])
        center = None if to.center is None else list(to.center)
        output: Tensor = F.affine(image, to.angle, list(to.translate), 1.0, list(to.shear),
                                  InterpolationMode.BILINEAR, fill, center)
        return output

    return operation


def _solarize(image: Tensor, level: float, fill: Fill) -> Tensor:
    threshold = 256 - int(256 * abs(level))
    if threshold > 255:  # torchvision refuses it
        return image
    solarized: Tensor = F.solarize(image, threshold)
    return solarized


def _solarize_add(image: Tensor, level: float, fill: Fill) -> Tensor:
    brighter = (image.int() + int(110 * abs(level))).clamp(max=255).to(torch.uint8)
    return torch.where(image < 128, brighter, image)


def _enhance(adjust: Callable[[Tensor, float], Tensor]) -> Operation:
    return lambda image, level, fill: adjust(image, max(0.1, 1 + 0.9 * level))


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, level, fill: F.autocontrast(image),
    "Equalize": lambda image, level, fill: F.equalize(image),
    "Invert": lambda image, level, fill: F.invert(image),
    "Rotate": _moved("Rotate"),
    "Posterize": lambda image, level, fill: F.posterize(image, bits=4 - int(4 * abs(level))),
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _enhance(F.adjust_saturation),
    "Contrast": _enhance(F.adjust_contrast),
    "Brightness": _enhance(F.adjust_brightness),
    "Sharpness": _enhance(F.adjust_sharpness),
    "ShearX": _moved("ShearX"),
    "ShearY": _moved("ShearY"),
    "TranslateX": _moved("TranslateX"),
    "TranslateY": _moved("TranslateY"),
}
