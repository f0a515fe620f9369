"""Fields of the objects in a picture: boxes, their labels and masks, with the same offsets."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import BadSampleError, Batch
from corekit.data.fields import Geometry, WholeNumber
from corekit.data.outlines import Outlines, outline
from corekit.data.ragged_fields import Ragged
from corekit.data.tokenizers.base import Tokenizer
from corekit.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from corekit.data.transforms.preprocess import Preprocess


@register("field", "image_id")
class ImageId(WholeNumber):
    """The number that a data set has for a picture, int64 [B]; in the sample's ``json`` member."""

    extensions: tuple[str, ...] = ("json:image_id", )

    def encode(self, value: object, extension: str) -> bytes:
        return json.dumps({self.name: value}).encode()


class OfObjects(Ragged):
    """A value for each object in a picture, kept in the sample's ``json`` member as COCO has it.

    That is an object with ``annotations``, a list with an object for each of the objects.
    """

    extensions: tuple[str, ...] = ("json", )
    offsets = "box_offsets"
    annotation = ""  # its key in an annotation
    missing: object = None  # its value where an annotation has no such key; None: it must

    def decode(self, content: bytes, where: str) -> object:
        try:
            notes = _parsed(content)
            rows = [each.get(self.annotation, self.missing) for each in notes["annotations"]]
            return self.from_annotations(rows, notes)
        except BadSampleError as error:
            raise BadSampleError(error.kind, f"{where}: {error.message}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            raise BadSampleError(self.name, f"{where}: its json holds no {self.name}, as COCO has "
                                 "them") from None

    def encode(self, value: object, extension: str) -> bytes | None:
        annotations = [{self.annotation: row} for row in self.to_annotations(value)]
        return json.dumps({"annotations": annotations}).encode()

    def from_annotations(self, rows: list[Any], notes: dict[str, Any]) -> object:
        """The field's value from that of every annotation."""
        return np.array(rows, dtype=self.dtype).reshape(len(rows), *self.row)

    def to_annotations(self, value: object) -> list[object]:
        """What every annotation says of it."""
        rows: list[object] = np.asarray(value).tolist()
        return rows


@lru_cache(maxsize=1)
def _parsed(content: bytes) -> dict[str, Any]:
    """The content of a json member, which several fields ask for one after the other."""
    notes: dict[str, Any] = json.loads(content)
    return notes


@register("field", "boxes")
class Boxes(OfObjects):
    """A box around each object: float32 [n, 4], x1 y1 x2 y2 in pixels of the picture."""

    dtype = "float32"
    row = (4, )
    geometry: Geometry | None = "boxes"
    annotation = "bbox"

    def from_annotations(self, rows: list[Any], notes: dict[str, Any]) -> NDArray[np.float32]:
        boxes = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes.astype(np.float32)

    def to_annotations(self, value: object) -> list[object]:
        boxes = np.array(value, dtype=np.float64).reshape(-1, 4)
        boxes[:, 2:] -= boxes[:, :2]
        return super().to_annotations(boxes)


@register("field", "box_labels")
class BoxLabels(OfObjects):
    """The class of each box's object, int64 [n]: its place among the class names, from 0 on."""

    dtype = "int64"
    annotation = "category_id"
    num_classes: int | None = None  # where the dataset knows how many there are

    def from_annotations(self, rows: list[Any], notes: dict[str, Any]) -> NDArray[np.int64]:
        labels = np.array(rows, dtype=np.int64).reshape(len(rows))
        if len(rows) and not 0 <= labels.min() <= labels.max() < (self.num_classes or 2**31):
            raise BadSampleError("unknown_category", f"category_id {labels.min()} or "
                                 f"{labels.max()} is not one of {self.num_classes} classes")
        return labels


@register("field", "iscrowd")
class IsCrowd(OfObjects):
    """Whether each box holds a crowd instead of one object: uint8 [n], 0 or 1."""

    dtype = "uint8"
    annotation = "iscrowd"
    missing = 0


@register("field", "areas")
class Areas(OfObjects):
    """The area of each object in pixels of the whole picture as annotated: float64 [n]."""

    dtype = "float64"
    annotation = "area"


@register("field", "masks")
class Masks(OfObjects):
    """The pixels of each box's object: uint8 [n, H, W], or ``Outlines`` until they are drawn.

    Where pictures differ in size, a batch has a list of them, one for each sample.
    """

    dtype = "uint8"
    geometry: Geometry | None = "mask"
    annotation = "segmentation"

    def from_annotations(self, rows: list[Any], notes: dict[str, Any]) -> Outlines:
        return Outlines.of([outline(row) for row in rows], int(notes["height"]),
                           int(notes["width"]))

    def encode(self, value: object, extension: str) -> bytes:
        outlines = value if isinstance(value, Outlines) else Outlines.of_masks(np.asarray(value))
        annotations = [{self.annotation: row} for row in outlines.as_json()]
        height, width = outlines.canvas
        return json.dumps({"height": height, "width": width, "annotations": annotations}).encode()

    def collate(self, values: Sequence[Any], tokenizer: Tokenizer | None) -> Batch:
        from corekit.data.loading.ragged import pack

        values = [value.draw() if isinstance(value, Outlines) else value for value in values]
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
