"""Augmentations drawn once, to be stored: torchvision's own, by a generator a sample."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from PIL import Image
from torchvision.transforms import RandAugment, RandomResizedCrop

from corekit.seeds import derive_seed

from .replay import OPERATIONS

BINS = 31  # that RandAugment's magnitudes are counted in
StoredEntry = list[object]  # the parameters of each stored transform in turn, as JSON has them


def draw_augmentation(image: Image.Image, seed: int, uid: str, number: int, size: int,
                      scale: Sequence[float], ratio: Sequence[float], operations: int,
                      magnitude: int) -> StoredEntry:
    """The entry of ``param_aug`` of one augmentation of one picture, by (seed, uid, number) alone.

    It is RandomResizedCrop's ``[top, left, height, width]`` in pixels of the picture, of which only
    the size is asked, and RandAugment's ``[number, magnitude]`` of each operation, in torchvision's
    order of drawing. Translations are in pixels of the stored picture's ``size``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "augmentation", uid, number))
        crop = RandomResizedCrop.get_params(image, list(scale), list(ratio))
        return [list(crop), [_draw_operation(size, magnitude) for _ in range(operations)]]


def _draw_operation(size: int, magnitude: int) -> list[float]:
    number = int(torch.randint(len(OPERATIONS), (1,)).item())
    value, signed = magnitude_of(OPERATIONS[number], size, magnitude)
    return [number, -value if signed and torch.randint(2, (1,)) else value]


@lru_cache(maxsize=1024)
def magnitude_of(operation: str, size: int, magnitude: int) -> tuple[float, bool]:
    """torchvision's RandAugment value on a square picture, and whether it has a drawn sign."""
    values, signed = RandAugment()._augmentation_space(BINS, (size, size))[operation]
    return float(values[magnitude] if values.ndim else values), signed
