"""Fields of the objects in a picture: boxes, their labels and masks, with the same offsets."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import BadSampleError, Batch
from corekit.data.fields import Geometry, Ragged
from corekit.data.tokenizers.base import Tokenizer
from corekit.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from corekit.data.transforms.preprocess import Preprocess


class OfObjects(Ragged):
    """A value for each object in a picture, kept in the sample's ``json`` member."""

    extensions: tuple[str, ...] = ("json", )
    offsets = "box_offsets"

    @property
    def note(self) -> str:
        """Its key in the json member."""
        return self.name

    def decode(self, content: bytes, where: str) -> NDArray[np.generic]:
        try:
            value = np.asarray(json.loads(content)[self.note], dtype=self.dtype)
            return value.reshape(-1, *self.row)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise BadSampleError(self.name, f"{where}: its json holds no {self.note}") from None

    def encode(self, value: object, extension: str) -> bytes | None:
        return json.dumps({self.note: np.asarray(value).tolist()}).encode()


@register("field", "boxes")
class Boxes(OfObjects):
    """A box around each object: float32 [n, 4], x1 y1 x2 y2 in pixels of the picture."""

    dtype = "float32"
    row = (4, )
    geometry: Geometry | None = "boxes"


@register("field", "box_labels")
class BoxLabels(OfObjects):
    """The number of the class of each box's object, int64 [n]."""

    dtype = "int64"

    @property
    def note(self) -> str:
        return "labels"


@register("field", "masks")
class Masks(OfObjects):
    """The pixels of each box's object, uint8 [n, H, W]; not written to shards.

    Where pictures differ in size, a batch has a list of them, one for each sample.
    """

    extensions = ()
    dtype = "uint8"
    geometry: Geometry | None = "mask"

    def encode(self, value: object, extension: str) -> None:
        return None

    def collate(self, values: Sequence[Any], tokenizer: Tokenizer | None) -> Batch:
        from corekit.data.loading.ragged import pack

        shapes = [tuple(value.shape[1:]) for value in values]
        if len(set(shapes)) > 1:
            return {self.name: list(values)}
        return dict(zip(self.entries, pack(values, self.dtype, shapes[0])))

    def join(self, parts: Sequence[Batch]) -> Batch:
        is_list = any(isinstance(part[self.name], list) for part in parts)
        if not is_list and len({part[self.name].shape[1:] for part in parts}) == 1:
            return super().join(parts)
        return {self.name: [mask for part in parts for mask in self._of_samples(part)]}

    def _of_samples(self, batch: Batch) -> "list[Tensor]":
        masks = batch[self.name]
        if isinstance(masks, list):
            return masks
        counts = batch[str(self.offsets)].diff().tolist()
        return [masks[last - count:last] for count, last in zip(counts, np.cumsum(counts))]

    def cut(self, batch: Batch, first: int, last: int) -> Batch:
        if isinstance(batch[self.name], list):
            return {self.name: batch[self.name][first:last]}
        return super().cut(batch, first, last)

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        shape = (samples, preprocess.size, preprocess.size)
        masks = torch.zeros(shape, dtype=torch.uint8, device=device)
        return {**super().example(samples, preprocess, tokenizer, device), self.name: masks}
