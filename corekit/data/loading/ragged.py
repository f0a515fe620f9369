"""Entries with any number of rows a sample: all rows in one tensor, and where each sample's begin.

A sample's ``label_rows`` (int32 [n], n of 0 and more) become the batch's ``label_rows``, int32 [sum
of n], and ``label_offsets``, int64 [B + 1]: sample i has the rows from ``offsets[i]`` up to
``offsets[i + 1]``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Ragged = tuple[Tensor, Tensor]


def pack(values: Sequence[object], dtype: str = "int32", row: tuple[int, ...] = ()) -> Ragged:
    """The rows of several samples, as ([sum of n, *row], offsets int64 [B + 1])."""
    empty = torch.empty(0, *row, dtype=getattr(torch, dtype))
    rows = [torch.as_tensor(value, dtype=empty.dtype).reshape(-1, *row) for value in values]
    return torch.cat([empty, *rows]), _offsets(torch.tensor([len(each) for each in rows]))


def join(parts: Sequence[Ragged]) -> Ragged:
    """The samples of several batches one after the other."""
    offsets = _offsets(torch.cat([offsets.diff() for _, offsets in parts]))
    return torch.cat([rows for rows, _ in parts]), offsets


def cut(rows: Tensor, offsets: Tensor, first: int, last: int) -> Ragged:
    """The samples from ``first`` up to ``last``."""
    offsets = offsets[first:last + 1]
    return rows[int(offsets[0]):int(offsets[-1])], offsets - offsets[0]


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts.to(torch.int64).cumsum(0)])
