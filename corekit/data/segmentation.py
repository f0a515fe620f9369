"""The field of class maps: the number of a class at each pixel of a picture."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corekit.data.datasets.base import BadSampleError, Batch
from corekit.data.fields import Field, Geometry
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.decode import MAX_PIXELS
from corekit.registry import register

if TYPE_CHECKING:
    from corekit.data.transforms.preprocess import Preprocess

IGNORED = 255  # of pixels without a class


@register("field", "segmentation")
class Segmentation(Field):
    """The number of a class at each pixel: uint8 [H, W] of a sample, int64 [B, H, W] of a batch.

    255 is of no class, and what lies outside the picture. In a shard it is a PNG with one channel
    or a palette. Where pictures differ in size, a batch has a list of maps.
    """

    extensions = ("png", "seg.png")  # the second beside a picture that is a PNG
    geometry: Geometry | None = "mask"
    outside = IGNORED

    def decode(self, content: bytes, where: str) -> NDArray[np.uint8]:
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", )) as image:
                if image.mode not in ("1", "L", "P") or image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"mode {image.mode}, {image.width} x {image.height} pixels")
                return np.array(image, dtype=np.uint8)
        except MemoryError:
            raise
        except Exception as error:  # bad bytes raise anything in Pillow
            raise BadSampleError(self.name, f"{where}: no PNG of class numbers: {error}") from None

    def encode(self, value: object, extension: str) -> bytes:
        content = io.BytesIO()
        Image.fromarray(np.asarray(value, dtype=np.uint8)).save(content, "PNG")
        return content.getvalue()

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        import torch

        return super().collate([torch.as_tensor(value).long() for value in values], tokenizer)

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        shape = (samples, preprocess.size, preprocess.size)
        return {self.name: torch.zeros(shape, dtype=torch.int64, device=device)}
