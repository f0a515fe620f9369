"""Fields with any number of rows a sample, such as the classes that it has."""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from corekit.data.datasets.base import Batch
from corekit.data.fields import Field
from corekit.data.tokenizers.base import Tokenizer
from corekit.registry import register

if TYPE_CHECKING:
    from corekit.data.transforms.preprocess import Preprocess


class Ragged(Field):
    """A field with any number of rows a sample, as ``corekit.data.loading.ragged`` has them."""

    dtype = "int32"  # of the rows, as torch and numpy call it
    row: tuple[int, ...] = ()  # shape of one row

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.name, str(self.offsets))

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        from corekit.data.loading.ragged import pack

        return dict(zip(self.entries, pack(values, self.dtype, self.row)))

    def join(self, parts: Sequence[Batch]) -> Batch:
        from corekit.data.loading.ragged import join

        rows = [(part[self.name], part[str(self.offsets)]) for part in parts]
        return dict(zip(self.entries, join(rows)))

    def cut(self, batch: Batch, first: int, last: int) -> Batch:
        from corekit.data.loading.ragged import cut

        rows = cut(batch[self.name], batch[str(self.offsets)], first, last)
        return dict(zip(self.entries, rows))

    def example(self, samples: int, preprocess: "Preprocess", tokenizer: Tokenizer | None,
                device: str) -> Batch:
        import torch

        rows = torch.zeros(samples, *self.row, dtype=getattr(torch, self.dtype), device=device)
        offsets = torch.zeros(samples + 1, dtype=torch.int64, device=device)
        return dict(zip(self.entries, (rows, offsets)))


@register("field", "label_rows")
class LabelRows(Ragged):
    """The classes a sample has, of which there may be several: rows of a vocabulary, ascending."""

    offsets = "label_offsets"
    noun = "label set"
    is_class = True

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        edges = batch[str(self.offsets)].tolist()
        rows = batch[self.name].tolist()
        return [tuple(rows[first:last]) for first, last in pairwise(edges)]
