"""DataCompDR's stored augmentations: parameters drawn once, replayed on the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.transforms.base import SampleTransform
from corekit.data.transforms.moving import Movement, cut_out, turn
from corekit.data.transforms.preprocess import Preprocess, to_tensor
from corekit.errors import CorekitError
from corekit.registry import register

# in the order they are applied and stored
STORED = ("random_resized_crop", "random_horizontal_flip", "rand_augment")
OPERATIONS = (  # in the order of their numbers in the stored entries
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color",
    "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize")


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one augmentation of one picture."""

    # top, left, height, width in pixels of the original picture; None: all of it
    crop: tuple[int, int, int, int] | None
    flip: bool
    # RandAugment's, by name, with their magnitudes for a picture of the stored size
    operations: tuple[tuple[str, float], ...]


def parse_augmentation(entry: Any, stored: Sequence[str], where: str) -> Augmentation:
    """One entry of ``param_aug``: a list with the parameters of each stored transform in turn.

    Those are ``[top, left, height, width]``, true or false, and ``[[number of the operation,
    magnitude], ...]`` or null where RandAugment was skipped. Raises a BadSampleError
    (``augmentation``) where it is not of this form.
    """
    try:
        if len(entry) != len(stored):
            raise ValueError(f"{len(entry)} parameters for {len(stored)} transforms")
        parameters = dict(zip(stored, entry))
        crop = parameters.get("random_resized_crop")
        flip = parameters.get("random_horizontal_flip", False)
        if crop is not None:
            crop = tuple(int(value) for value in crop)
            if len(crop) != 4 or min(crop) < 0 or 0 in crop[2:]:
                raise ValueError(f"{crop} is no crop")
        operations = tuple((OPERATIONS[_number_of(number)], float(magnitude))
                           for number, magnitude in parameters.get("rand_augment") or ())
        if not all(math.isfinite(magnitude) for _, magnitude in operations):
            raise ValueError("a magnitude is not finite")
        return Augmentation(crop, bool(flip), operations)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise BadSampleError("augmentation", f"{where}: {str(entry)[:200]} holds no parameters of "
                                             f"{', '.join(stored)} ({error})") from None


def _number_of(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no number of an operation")
    return value


@register("transform", "replay")
class Replay(SampleTransform):
    """The picture as the teachers saw it, by its stored augmentation (Vasu et al., 2024, 3.1).

    At the stored size and interpolation the pixels are those the teachers saw. At another size the
    picture shows the same: crops are in pixels of the original picture, and translations, drawn in
    pixels of the stored size, grow with the picture.

    Args:
        preprocess: gives size and interpolation.
        stored_size: height and width, in pixels, of the teachers' pictures.
    """

    reads = ("augmentation", )
    sized = False

    def __init__(self, preprocess: Preprocess, stored_size: int = 224) -> None:
        if stored_size < 1:
            raise CorekitError("transform 'replay': stored_size must be at least 1, not "
                               f"{stored_size}")
        self.size, self.interpolation = preprocess.size, InterpolationMode(preprocess.interpolation)
        self.scale = preprocess.size / stored_size

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        image: Image.Image = sample["image"]
        augmentation: Augmentation = sample["augmentation"]
        picture = image if image.mode == "RGB" else image.convert("RGB")
        top, left, height, width = augmentation.crop or (0, 0, picture.height, picture.width)
        if top + height > picture.height or left + width > picture.width:
            raise BadSampleError("augmentation", f"a crop of {height} x {width} pixels from row "
                                 f"{top}, column {left} does not fit the picture of "
                                 f"{picture.height} x {picture.width}")
        square = (self.size, self.size)
        picture = F.resized_crop(picture, top, left, height, width, [*square], self.interpolation)
        part = left, top, left + width, top + height
        sample = cut_out(sample, part, square, augmentation.flip)
        if augmentation.flip:
            picture = F.hflip(picture)
        for name, magnitude in augmentation.operations:
            movement = self._movement(name, magnitude)
            if movement is not None:
                sample = turn(sample, movement)
            if movement is not None and name.startswith("Translate"):
                picture = F.affine(picture, 0.0, list(movement.translate), 1.0, [0.0, 0.0])
            else:
                picture = _apply_op(picture, name, magnitude, InterpolationMode.NEAREST, None)
        return {**sample, "image": to_tensor(picture)}

    def replay(self, image: Image.Image, augmentation: Augmentation) -> Tensor:
        """uint8 [3, size, size] of a picture alone; raises as ``transform`` does."""
        pixels: Tensor = self.transform({"image": image, "augmentation": augmentation})["image"]
        return pixels

    def _movement(self, name: str, magnitude: float) -> Movement | None:
        """torchvision's affine arguments of a RandAugment operation; None where nothing moves."""
        if name == "Rotate":
            return Movement(angle=-magnitude)
        if name.startswith("Translate"):
            # what the teachers saw was whole pixels
            shift = int(magnitude) * self.scale if self.scale != 1 else int(magnitude)
            return Movement(translate=(shift, 0) if name == "TranslateX" else (0, shift))
        if name.startswith("Shear"):
            angle = math.degrees(math.atan(magnitude))
            return Movement(shear=(angle, 0.0) if name == "ShearX" else (0.0, angle), center=(0, 0))
        return None
