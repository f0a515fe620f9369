"""Native-resolution training (Fini et al., 2024, section 2.4): each step has its own area."""

import math
from itertools import product
from statistics import NormalDist

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

from corekit.data.datasets.base import Sample
from corekit.data.loading.batch_shape import FixedSize, Rounds
from corekit.data.transforms.base import SampleTransform
from corekit.data.transforms.decode import LazyJpeg
from corekit.data.transforms.geometric import check_part
from corekit.data.transforms.moving import cut_out
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register

from .blocks import PATCH_SIZE

UNIT = 2**14  # pixels of the side of the square that parts are drawn in
_SQUARE = torch.empty(1, UNIT, UNIT, device="meta")


@register("sampler", "native_area")
class NativeArea(Rounds):
    """Batches of area A, in patches of 14x14 pixels, with C / A samples: at most C patches a step.

    A is 2^n, where n goes from the first exponent to the second as a standard normal cut at -1 and
    1 does. The paper draws it anew each time. Here areas come in rounds
    (``corekit.data.loading.batch_shape.Rounds``) that have the middles of ``scales`` equally likely
    parts of that distribution, once each. A is rounded to the square of a whole number, by 9 % at
    most from 128 patches on; its root is the side that transforms get, in pixels.

    C is ``batch_size`` times the patches of the preprocessing's size. A stream gives C / (streams ·
    A) samples, rounded down.

    Args:
        batch_size: samples of one step at the preprocessing's size, over all ranks.
        streams: stretches that the data is read in; divides ``batch_size``.
        preprocess: gives the size that ``batch_size`` is for.
        seed: of the order of the areas.
        exponents: the smallest and the largest n.
        scales: areas of a round, some of them alike.

    Raises:
        CorekitError: the streams do not divide the batch, or have too few patches for a sample.
    """

    def __init__(self, batch_size: int, streams: int, preprocess: Preprocess, seed: int,
                 exponents: tuple[float, float] = (7.0, 12.0), scales: int = 100) -> None:
        FixedSize(batch_size, streams)  # refuses streams that do not divide the batch
        first, last = exponents
        if scales < 1 or not 0 <= first <= last:
            raise CorekitError("sampler 'native_area' needs scales above 0 and exponents from 0 "
                               f"up, not scales={scales}, exponents=[{first}, {last}]")
        normal = NormalDist()
        below, within = normal.cdf(-1), normal.cdf(1) - normal.cdf(-1)
        middles = [normal.inv_cdf(below + within * (part + 0.5) / scales) for part in range(scales)]
        sides = [round(2**((first + (last - first) * (middle + 1) / 2) / 2)) for middle in middles]
        patches = batch_size * (preprocess.size // PATCH_SIZE) ** 2 // streams
        if patches < sides[-1] ** 2:
            raise CorekitError(f"sampler 'native_area': a stream has {patches:,} patches a step, "
                               f"too few for a picture of {sides[-1] ** 2:,}: set data.streams, "
                               f"now {streams}, to a divisor of engine.batch_size={batch_size} "
                               f"that is at most {patches * streams // sides[-1] ** 2}")
        super().__init__([(PATCH_SIZE * side, patches // side**2) for side in sides], seed)


@register("transform", "fit_area")
class FitArea(SampleTransform):
    """A random part of the picture in its own shape, resized to at most an area's patches.

    Sides are whole patches of 14 pixels, each less than one from what the shape asks for. A part
    longer than the area in patches is squeezed: 3 x 5,000 pixels become a row of patches. Share and
    shape of the part are drawn as torchvision's ``RandomResizedCrop`` does for a square, which is
    then the picture; torch's resizing is within two of 255 levels of Pillow.

    Args:
        preprocess: gives interpolation, and the side of the area where the step has none.
        scale: smallest and largest share of the picture's area; (1, 1): all of it.
        ratio: smallest and largest width / height of the part over that of the picture.
        flip: probability of a horizontal mirror image.
    """

    def __init__(self, preprocess: Preprocess, scale: tuple[float, float] = (1.0, 1.0),
                 ratio: tuple[float, float] = (1.0, 1.0), flip: float = 0.0) -> None:
        check_part("fit_area", scale, ratio, flip)
        self.size, self.interpolation, self.flip = preprocess.size, preprocess.interpolation, flip
        self.scale, self.ratio = list(scale), list(ratio)

    def transform(self, sample: Sample, size: int | None = None) -> Sample:
        """The sample with ``image`` uint8 [3, H, W], of at most (size / 14)² patches."""
        image: Image.Image = sample["image"]
        crop = TorchvisionCrop.get_params(_SQUARE, self.scale, self.ratio)
        top, left, height, width = (side / UNIT for side in crop)
        edges = [left * image.width, top * image.height, (left + width) * image.width,
                 (top + height) * image.height]
        part = max(1.0, edges[2] - edges[0]), max(1.0, edges[3] - edges[1])
        rows, columns = grid_within(*part, ((size or self.size) // PATCH_SIZE) ** 2)
        rows, columns = PATCH_SIZE * rows, PATCH_SIZE * columns
        factor = 1
        if isinstance(image, LazyJpeg):
            factor = image.shrink(int(min(part[0] / columns, part[1] / rows)))
        first, last = ([round(edge / factor) for edge in each] for each in (edges[:2], edges[2:]))
        box = (*first, *(max(begin + 1, end) for begin, end in zip(first, last)))
        pixels = torch.from_numpy(np.array(image.convert("RGB").crop(box))).permute(2, 0, 1)[None]
        resized = F.interpolate(pixels, (rows, columns), mode=self.interpolation,
                                antialias=True)[0].contiguous()
        flip = bool(self.flip) and torch.rand(()).item() < self.flip
        left, top, right, bottom = (factor * edge for edge in box)
        sample = cut_out(sample, (left, top, right, bottom), (rows, columns), flip)
        return {**sample, "image": resized.flip(-1) if flip else resized}


def grid_within(width: float, height: float, patches: int) -> tuple[int, int]:
    """The largest (rows, columns) of patches, within one of the picture's own shape."""
    rows, columns = math.sqrt(patches * height / width), math.sqrt(patches * width / height)
    around = [{min(max(1, number(side)), patches)
               for number in (math.floor, math.ceil)} for side in (rows, columns)]
    return max(((high, wide) for high, wide in product(*around) if high * wide <= patches),
               key=math.prod)
