"""Ragged entries: packed, joined from workers and cut into micro-batches without losing or moving a
row.
"""

from itertools import pairwise

import pytest
import torch

from corekit.data.fields import find_fields
from corekit.data.loading import collate
from corekit.data.loading.collate import split
from corekit.data.loading.ragged import cut, join, pack

ROWS = [[4, 1], [], [7], [], [2, 9, 3], [5]]


def unpack(rows: torch.Tensor, offsets: torch.Tensor) -> list[list[int]]:
    return [rows[first:last].tolist() for first, last in pairwise(offsets.tolist())]


def test_packed_rows_are_sparse_and_small() -> None:
    rows, offsets = pack([torch.tensor(each, dtype=torch.int64) for each in ROWS])
    assert (rows.dtype, offsets.dtype) == (torch.int32, torch.int64)
    assert rows.tolist() == [4, 1, 7, 2, 9, 3, 5]
    assert offsets.tolist() == [0, 2, 2, 3, 3, 6, 7]
    assert unpack(*pack([[], []])) == [[], []]
    assert unpack(*pack([])) == []


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_workers_parts_are_joined_and_cut_into_micro_batches(parts: int) -> None:
    size = len(ROWS) // parts
    pieces = [pack(ROWS[index:index + size]) for index in range(0, len(ROWS), size)]
    assert unpack(*join(pieces)) == ROWS
    batches = [
        {
            "key": [str(index * size + each)
                    for each in range(size)], "label_rows": rows, "label_offsets": offsets
        } for index, (rows, offsets) in enumerate(pieces)
    ]
    fields = find_fields(["label_rows"])
    whole = collate.join(batches, fields)
    for micro in (1, 2, 3, 6):
        micro_batches = split(whole, micro, fields)
        rows = [row for batch in micro_batches
                for row in unpack(batch["label_rows"], batch["label_offsets"])]
        assert rows == ROWS
        assert all(
            batch["label_offsets"][0] == 0 and len(batch["label_offsets"]) == len(batch["key"]) + 1
            for batch in micro_batches)
    assert unpack(*cut(whole["label_rows"], whole["label_offsets"], 4, 6)) == [[2, 9, 3], [5]]
