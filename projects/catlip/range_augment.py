"""RangeAugment (Mehta et al., 2022, arXiv 2212.10553): augmentation with learned strength.

A model applies brightness, contrast and noise of random strength to its batch, each strength drawn
from a range whose two ends are parameters. A loss holds the error that this makes near a target,
which grows during training. CatLIP and its CLIP baseline are trained so. Images must have their
pixels in [0, 1], without mean and std.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from corekit.errors import CorekitError
from corekit.models.dense.encoder import Images
from corekit.registry import register

LEVELS = 255.0  # errors are counted in levels of 8-bit pixels
ALPHA = 100.0  # times the error's distance from its target, as a share of the largest error


class Range(nn.Module):
    """The range that magnitudes are drawn from: U(low, high), each end between two bounds.

    Args:
        low, high: what the parameters ``_low`` and ``_high`` (each []) start at; an end is
            sigmoid(parameter) * (upper bound - lower bound) + lower bound.
        neutral: the magnitude that changes nothing.
    """

    def __init__(self, low: float, high: float, low_bounds: tuple[float, float],
                 high_bounds: tuple[float, float], neutral: float) -> None:
        super().__init__()
        self._low, self._high = nn.Parameter(torch.tensor(low)), nn.Parameter(torch.tensor(high))
        self.low_bounds, self.high_bounds, self.neutral = low_bounds, high_bounds, neutral

    @property
    def low(self) -> Tensor:
        return _between(self._low, self.low_bounds)

    @property
    def high(self) -> Tensor:
        return _between(self._high, self.high_bounds)

    def forward(self, count: int, device: torch.device) -> Tensor:
        """Magnitudes [B, 1, 1, 1]: of a random half of the images from the range, else neutral."""
        low = self.low
        uniform = torch.rand(count, dtype=self._low.dtype, device=device)
        augmented = torch.randperm(count, device=device) < max(1, count // 2)
        magnitude = low + uniform * (self.high - low)
        return torch.where(augmented, magnitude, self.neutral).view(count, 1, 1, 1)


class RangeAugment(nn.Module):
    """Brightness, contrast and noise with learned ranges, named and initialised as in CoreNet.

    In random order, each on a random half of the images: brightness x * m; contrast mean + (x -
    mean) * m about each channel's mean; noise x + m * N(0, 1). Then pixels are clipped to [0, 1].
    Images of different sizes come as a list of [3, H, W]. Draws come from torch's generators, which
    the trainer seeds for every micro-batch. What the backward pass needs is computed again instead
    of kept.

    Raises:
        CorekitError: the first images have pixels outside [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.brightness = Range(0.5, 1.5, (0.1, 0.9), (1.1, 10.0), neutral=1.0)
        self.contrast = Range(0.5, 1.5, (0.1, 0.9), (1.1, 10.0), neutral=1.0)
        self.noise = Range(0.0, 0.1, (0.0, 0.00005), (0.0001, 1.0), neutral=0.0)
        self.checked = False
        self.error: Tensor | None = None  # on its way past the model, from one hook to the other

    # its order is drawn; the model after it stays one graph
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, image: Images) -> tuple[Images, Tensor]:
        """Augmented images, [B, 3, H, W] or a list as they came, and each one's squared error.

        That is the mean over its pixels, [B].
        """
        alike = [image] if isinstance(image, Tensor) else [each[None] for each in image]
        if not self.checked and alike[0].device.type != "meta":
            ends = [each.aminmax() for each in alike]
            lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
            if lowest < 0 or highest > 1:
                raise CorekitError("model 'range_augment' wants pixels from 0 to 1, but they go "
                                   f"from {lowest:.2f} to {highest:.2f}: set "
                                   "data.preprocess.mean=[0,0,0] and data.preprocess.std=[1,1,1]")
            self.checked = True
        augmented, error = checkpoint(self._augment, *alike, use_reentrant=False)
        if isinstance(image, Tensor):
            return augmented[0], error
        return [each[0] for each in augmented], error

    def _augment(self, *images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The same for images [n, 3, H, W] of several sizes, whose sizes change no number."""
        counts = [len(each) for each in images]
        augmented = list(images)
        for index in torch.randperm(3, device="cpu").tolist():
            strength = (self.brightness, self.contrast, self.noise)[index]
            magnitudes = strength(sum(counts), images[0].device).split(counts)
            augmented = [self._apply_one(strength, x, magnitude)
                         for x, magnitude in zip(augmented, magnitudes)]
        augmented = [x.clamp(0, 1) for x in augmented]
        errors = [(x - image).square().mean((1, 2, 3)) for x, image in zip(augmented, images)]
        return augmented, torch.cat(errors)

    def _apply_one(self, strength: nn.Module, x: Tensor, magnitude: Tensor) -> Tensor:
        if strength is self.brightness:
            return x * magnitude
        if strength is self.contrast:
            return x * magnitude + x.mean((2, 3), keepdim=True) * (1 - magnitude)
        return x + torch.randn_like(x) * magnitude


@register("model", "range_augment")
def range_augment(model: nn.Module) -> nn.Module:
    """A model of ``image`` that gives a dict, with RangeAugment before it in training.

    It is the given module itself with one more child, ``neural_augmentor``, so that its other
    parameters, attributes and methods keep their names. Its state dict has six more scalars, called
    as in CoreNet's checkpoints: ``neural_augmentor.{brightness,contrast,noise}.{_low,_high}``. In
    training it also gives ``augmentation_error``, float [B], for the loss ``range_augment``; in
    evaluation images pass unchanged. Features from ``encode_image`` are never augmented.

    Args:
        model: any model of images with pixels in [0, 1].
    """
    model.neural_augmentor = RangeAugment()
    # under layer-wise decay, as in CoreNet
    model.before_layers = ("neural_augmentor",)  # type: ignore[assignment]
    model.register_forward_pre_hook(_augment_input, with_kwargs=True)
    model.register_forward_hook(_add_error, with_kwargs=True)
    return model


def _augmentor(model: nn.Module) -> RangeAugment:
    augmentor = model.neural_augmentor
    assert isinstance(augmentor, RangeAugment)
    return augmentor


def _augment_input(model: nn.Module, inputs: tuple[object, ...],
                   named: dict[str, object]) -> tuple[tuple[object, ...], dict[str, object]]:
    if not model.training:
        return inputs, named
    if "image" not in named:
        raise CorekitError("model 'range_augment' augments the input `image`, but the model was "
                           "called without it")
    augmentor = _augmentor(model)
    image, augmentor.error = augmentor(named["image"])
    return inputs, {**named, "image": image}


def _add_error(model: nn.Module, inputs: tuple[object, ...], named: dict[str, object],
               outputs: object) -> object:
    if not model.training:
        return outputs
    if not isinstance(outputs, Mapping):
        raise CorekitError("model 'range_augment' wants a model that gives a dict of outputs")
    augmentor = _augmentor(model)
    error, augmentor.error = augmentor.error, None
    return {**outputs, "augmentation_error": error}


@register("loss", "range_augment")
class RangeAugmentLoss:
    """Distance of augmented images from the similarity wanted at this step: a sample loss.

    With e_i the mean squared error of image i in levels of 8-bit pixels, it is the sum over images
    of smooth L1(e_i, target), times 100 / 255^2. The target is the error that a peak
    signal-to-noise ratio of p stands for, 255^2 / 10^(p / 10); it goes from that of the first p to
    that of the last along half a cosine, or along a line (in the error, as CoreNet's code does).

    Args:
        target_psnr: decibels at the first and at the last step.
        curriculum: how the target goes from one to the other.
    """

    def __init__(self, target_psnr: tuple[float, float] = (40.0, 20.0),
                 curriculum: Literal["cosine", "linear"] = "cosine") -> None:
        self.first, self.last = (LEVELS**2 / 10 ** (psnr / 10) for psnr in target_psnr)
        self.curriculum = curriculum

    def target(self, step: int, steps: int) -> float:
        """The mean squared error wanted at a step, counted from 0, of a run."""
        done = step / steps
        left = (1 + math.cos(math.pi * done)) / 2 if self.curriculum == "cosine" else 1 - done
        return self.last + (self.first - self.last) * left

    def __call__(self, augmentation_error: Tensor, step: int, steps: int) -> Tensor:
        error = LEVELS**2 * augmentation_error
        distance = F.smooth_l1_loss(error, torch.full_like(error, self.target(step, steps)),
                                    reduction="sum")
        return distance * (ALPHA / LEVELS**2)


def _between(value: Tensor, bounds: tuple[float, float]) -> Tensor:
    lower, upper = bounds
    return value.sigmoid() * (upper - lower) + lower
