"""Random crops of randomly scaled pictures, as detection and segmentation are trained with."""

import numpy as np
import torch
from PIL import Image
from torchvision.tv_tensors import Mask

from corekit.data.datasets.base import Sample
from corekit.data.segmentation import IGNORED
from corekit.data.transforms.base import SampleTransform
from corekit.data.transforms.moving import boxes_around_masks, crop, move
from corekit.data.transforms.pixels import Part
from corekit.data.transforms.preprocess import Preprocess
from corekit.data.transforms.resizing import check_flip, is_drawn, pad, resized
from corekit.errors import CorekitError
from corekit.registry import register


def _place(most: int) -> int:
    """A whole number from 0 to ``most``, drawn from torch's generator."""
    return int(torch.randint(most + 1, ()))


@register("transform", "large_scale_jitter")
class LargeScaleJitter(SampleTransform):
    """A random square of the picture at a random scale, filled up with zeros right and below.

    Ghiasi et al., Simple copy-paste, 2021; Li et al., ViTDet, 2022. At scale 1 the whole picture
    just fits into the square. The place is drawn for each axis by itself, and only the part of the
    picture that is kept is resized, from edges rounded to whole pixels of the picture.

    Args:
        preprocess: gives size and interpolation.
        scale: smallest and largest factor.
        flip: probability of a horizontal mirror image.
        boxes_from_masks: boxes lie tight around what is left of the masks; else each is the part of
            the box that is left.
        scaled_decoding: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size first.
    """

    moves_outlines = True

    def __init__(self, preprocess: Preprocess, scale: tuple[float, float] = (0.1, 2.0),
                 flip: float = 0.5, boxes_from_masks: bool = False,
                 scaled_decoding: bool = True) -> None:
        check_flip("large_scale_jitter", flip)
        if not 0 < scale[0] <= scale[1]:
            raise CorekitError("transform 'large_scale_jitter' needs a scale above 0, smallest "
                               f"first, not {[*scale]}")
        self.size, self.interpolation = preprocess.size, preprocess.interpolation
        self.scale, self.flip = scale, flip
        self.boxes_from_masks, self.scaled_decoding = boxes_from_masks, scaled_decoding

    def draw(self, height: int, width: int, side: int) -> tuple[Part, tuple[int, int]]:
        """The part of a picture that is kept, and the (height, width) that it gets."""
        smallest, largest = self.scale
        factor = smallest + (largest - smallest) * torch.rand(()).item()
        factor *= min(side / height, side / width)
        high, wide = max(1, round(height * factor)), max(1, round(width * factor))
        top, left = _place(max(0, high - side)), _place(max(0, wide - side))
        size = min(side, high), min(side, wide)
        edges = (left * width / wide, top * height / high,
                 (left + size[1]) * width / wide, (top + size[0]) * height / high)
        left, top, right, bottom = (round(edge) for edge in edges)
        left, top = min(left, width - 1), min(top, height - 1)
        return (left, top, max(right, left + 1), max(bottom, top + 1)), size

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size], and what else is in it."""
        side = size or self.size
        image: Image.Image = sample["image"]
        part, kept = self.draw(image.height, image.width, side)
        output = resized(sample, part, kept, self.interpolation, self.scaled_decoding,
                         is_drawn(self.flip))
        return pad(boxes_around_masks(output) if self.boxes_from_masks else output, side, side)


@register("transform", "class_limited_crop")
class ClassLimitedCrop(SampleTransform):
    """A random square of the randomly resized picture in which no class covers nearly everything.

    As ADE20k is trained on (MMSegmentation; Mehta et al., CatLIP, 2024). The shorter side is drawn,
    the picture is mirrored or not, and a square drawn in it, again where one class covers too much;
    where the picture is smaller it is filled up right and below, with zeros and ignored labels.

    Args:
        preprocess: gives size and interpolation.
        shortest: least and most pixels of the resized shorter side.
        longest: most pixels of the resized longer side.
        limit: share of a square's labelled pixels from which on a class covers too much.
        tries: how many squares may be refused; the next one is taken as it is.
        ignored_is_class: pixels of no class count as one more class, as CoreNet counts them; else
            they do not count.
        flip: probability of a horizontal mirror image.

    In a step with a size of its own, all lengths grow or shrink alike.
    """

    reads = ("segmentation", )
    moves_outlines = True

    def __init__(self, preprocess: Preprocess, shortest: tuple[int, int] = (256, 768),
                 longest: int = 1024, limit: float = 0.75, tries: int = 10,
                 ignored_is_class: bool = False, flip: float = 0.5) -> None:
        check_flip("class_limited_crop", flip)
        if not 0 < shortest[0] <= shortest[1] <= longest or tries < 0 or not 0 < limit <= 1:
            raise CorekitError("transform 'class_limited_crop' needs 0 < shortest <= longest, "
                               "tries from 0 on and a limit above 0 up to 1, not "
                               f"{[*shortest]}, {longest}, {tries} and {limit:g}")
        self.size, self.interpolation, self.flip = preprocess.size, preprocess.interpolation, flip
        self.shortest, self.longest = shortest, longest
        self.limit, self.tries, self.ignored_is_class = limit, tries, ignored_is_class

    def draw_size(self, height: int, width: int, side: int) -> tuple[int, int]:
        """Height and width of the resized picture."""
        grown = side / self.size
        least, most = (int(length * grown) for length in self.shortest)
        shortest = least + _place(most - least)
        factor = min(shortest / min(height, width), self.longest * grown / max(height, width))
        return max(1, int(height * factor)), max(1, int(width * factor))

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, size, size], and what else is in it."""
        side = size or self.size
        image: Image.Image = sample["image"]
        high, wide = self.draw_size(image.height, image.width, side)
        output = resized(sample, (0, 0, *image.size), (high, wide), self.interpolation, False,
                         is_drawn(self.flip))
        for attempt in range(self.tries + 1):
            top, left = _place(max(0, high - side)), _place(max(0, wide - side))
            square = left, top, left + side, top + side
            if attempt == self.tries or "segmentation" not in sample:
                break
            if not self.is_refused(crop(output["segmentation"], *square)):
                break
        pixels = output["image"][:, top:top + side, left:left + side]
        cropped = move({**output, "image": None}, lambda value: crop(value, *square))
        return pad({**cropped, "image": pixels}, side, side)

    def is_refused(self, classes: Mask) -> bool:
        """Whether one class covers too much of a placed map, on which 0 is no class."""
        counts = np.bincount(classes.numpy().ravel(), minlength=IGNORED + 1)
        counts = counts[0 if self.ignored_is_class else 1:]
        return bool((counts > 0).sum() < 2 or counts.max() >= self.limit * counts.sum())
