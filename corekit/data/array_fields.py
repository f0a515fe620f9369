"""Fields of a few whole numbers a sample, kept as ``.npy`` files: its groups, or its classes."""

import io
import re
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import BadSampleError, Batch
from corekit.data.fields import Field
from corekit.data.tokenizers.base import Tokenizer
from corekit.errors import CorekitError
from corekit.registry import register

MAGIC = b"\x93NUMPY"
# of a row of numbers, as numpy writes it; that of objects, which would be unpickled, is another
_HEADER = re.compile(rb"\{'descr': '([<>|=]?(?:b1|[iu][1248]|f[248]))', 'fortran_order': "
                     rb"(?:True|False), 'shape': \((\d{1,12}),\),? ?\}\s*")
_LONGEST = 1000  # bytes of a header


class Array(Field):
    """A row of whole numbers, as long in every sample: ``dtype`` [B, length]."""

    dtype = "int64"  # as torch and numpy call it

    def decode(self, content: bytes, where: str) -> NDArray[np.int64]:
        try:
            return self.from_array(_parsed(content))
        except ValueError as error:
            raise BadSampleError(self.name, f"{where}: {self.name} is no .npy file with one row of "
                                 f"whole numbers: {error}") from None

    def from_array(self, array: NDArray[np.generic]) -> NDArray[np.int64]:
        """The value from what the file holds; a ValueError where it does not fit."""
        if array.dtype.kind == "f":
            raise ValueError(f"it holds {array.dtype}")
        numbers = array.astype(np.int64)
        if array.dtype.kind == "u" and (numbers < 0).any():
            raise ValueError("a number has more than 63 bits")
        return numbers

    def encode(self, value: object, extension: str) -> bytes:
        content = io.BytesIO()
        np.save(content, np.asarray(value, dtype=self.dtype), allow_pickle=False)
        return content.getvalue()

    def collate(self, values: Sequence[object], tokenizer: Tokenizer | None) -> Batch:
        import torch

        rows = [np.asarray(value, dtype=self.dtype) for value in values]
        lengths = {row.shape for row in rows}
        if len(lengths) > 1:
            raise CorekitError(f"{self.name} has {' or '.join(map(str, sorted(lengths)))} numbers "
                               "in one batch: samples of one data set must have as many")
        return {self.name: torch.from_numpy(np.stack(rows))}

    def comparable(self, batch: Batch) -> Sequence[Hashable]:
        return [tuple(row) for row in batch[self.name].tolist()]


@register("field", "metadata")
class Metadata(Array):
    """Numbers of the groups that a sample belongs to, such as its region and year: int64 [B, M]."""

    extensions = ("npy", "metadata.npy")


@register("field", "label_vector")
class LabelVector(Array):
    """Whether a sample has each of the classes: 0 or 1, uint8 [B, K]."""

    extensions = ("npy", "label_vector.npy")
    dtype = "uint8"
    noun = "label set"
    is_class = True

    def from_array(self, array: NDArray[np.generic]) -> NDArray[np.int64]:
        """0 and 1, also where floating-point numbers say so."""
        if not np.isin(array, (0, 1)).all():
            raise ValueError("it holds more than 0 and 1")
        return array.astype(np.uint8)


def _parsed(content: bytes) -> NDArray[np.generic]:
    """The one row of numbers in a ``.npy`` file.

    numpy's own reader would take the memory that a header claims, and recurse as deep as it nests.
    """
    size = {1: 2, 2: 4}.get(content[6] if content[:6] == MAGIC and len(content) > 8 else 0)
    if size is None:
        raise ValueError(f"it begins with {content[:8]!r}")
    first = 8 + size + int.from_bytes(content[8:8 + size], "little")
    header = _HEADER.fullmatch(content[8 + size:first][:_LONGEST])
    if header is None:
        raise ValueError(f"its header is {content[8 + size:first][:80]!r}")
    dtype, length = np.dtype(header[1].decode()), int(header[2])
    if len(content) - first != length * dtype.itemsize:
        raise ValueError(f"it claims {length:,} numbers, and {len(content) - first:,} bytes follow")
    return np.frombuffer(content[first:], dtype=dtype)
