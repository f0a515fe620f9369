"""Where the tokens of ragged conversations go: one long row, or a row each, padded."""

from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """The tokens of B conversations, T in all: the sample of each, and its place there."""

    sample: Tensor  # int64 [T]
    position: Tensor  # int64 [T]

    @classmethod
    def of(cls, conversation: Tensor, offsets: Tensor) -> "Places":
        """Those of ids [T] with offsets [B + 1]."""
        number = torch.arange(len(conversation), device=conversation.device)
        sample = torch.searchsorted(offsets, number, right=True) - 1
        return cls(sample, number - offsets[sample])


def picture_rows(conversation: Tensor, offsets: Tensor, sample: Tensor, tile_offsets: Tensor,
                 tokens: int) -> Tensor:
    """For each place of a picture, which row of all tiles' tokens [sum of t · tokens] stands there.

    A conversation that was cut has fewer places than tiles: the first ones are taken. What is no
    place of a picture gets any row.
    """
    is_place = conversation < 0
    places_up_to = is_place.cumsum(0)
    before = torch.cat([places_up_to.new_zeros(1), places_up_to])[offsets[:-1]]
    return tile_offsets[sample] * tokens + places_up_to - 1 - before[sample]


def longest(offsets: Tensor, tokens: int) -> int:
    """The most tokens of a conversation; of meta tensors, whose values are not known, the mean."""
    if offsets.is_meta:
        return tokens // (len(offsets) - 1)
    return int(offsets.diff().max())


def padded(rows: Tensor, places: Places, samples: int, length: int, left: bool = False,
           offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows [T, D] as [B, length, D], zeros after them, or before them with ``left``.

    Returns:
        them, and where each row is: its number in [B · length, D].
    """
    position = places.position
    if left:
        assert offsets is not None
        position = position + (length - offsets.diff())[places.sample]
    index = places.sample * length + position
    table = rows.new_zeros(samples * length, rows.shape[1]).index_copy(0, index, rows)
    return table.view(samples, length, -1), index
