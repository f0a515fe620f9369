"""Entries of which every sample has as many as it likes: all samples' values in one row, and where
each one's begin.

A sample's ``label_rows`` (int32 [n], n of 0 and more) become the batch's ``label_rows``, int32 [sum
of n], and ``label_offsets``, int64 [B + 1]: sample i has the rows from ``offsets[i]`` up to
``offsets[i + 1]``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

RAGGED = {"label_rows": "label_offsets"}  # field -> what a batch calls its offsets

Ragged = tuple[Tensor, Tensor]


def pack(values: Sequence[Any]) -> Ragged:
    """The values of several samples, one-dimensional whole numbers each, as (int32 [sum of n],
    offsets int64 [B + 1]).
    """
    rows = [torch.as_tensor(value, dtype=torch.int32).reshape(-1) for value in values]
    return torch.cat([torch.empty(0, dtype=torch.int32),
                      *rows]), _offsets(torch.tensor([len(each) for each in rows]))


def join(parts: Sequence[Ragged]) -> Ragged:
    """The samples of several batches one after the other."""
    return torch.cat([rows for rows, _ in parts
                      ]), _offsets(torch.cat([offsets.diff() for _, offsets in parts]))


def cut(rows: Tensor, offsets: Tensor, first: int, last: int) -> Ragged:
    """The samples from ``first`` up to ``last``."""
    chosen = offsets[first:last + 1]
    return rows[int(chosen[0]):int(chosen[-1])], chosen - chosen[0]


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts.to(torch.int64).cumsum(0)])
