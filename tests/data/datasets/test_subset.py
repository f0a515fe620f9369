"""Parts of a source: which samples they hold, whichever way they are read."""

import numpy as np
import pytest

from corekit import CorekitError
from corekit.data.datasets.subset import Subset, hold_out
from tests.evaluation.known import SHARD, Numbered

TOTAL = 3 * SHARD + 4


def everything(part: Subset, at_once: int) -> list[int]:
    numbers = []
    for shard, size in enumerate(part.shard_sizes.tolist()):
        for first in range(0, size, at_once):
            handles = part.read(shard, first, min(at_once, size - first))
            numbers += [int(part.decode(handle)["key"]) for handle in handles]
    return numbers


def test_a_part_is_the_chosen_samples_in_their_order() -> None:
    mask = np.zeros(TOTAL, dtype=np.bool_)
    # none of the third shard
    numbers = [0, 1, 2, 6, SHARD, SHARD + 2, SHARD + 3, 3 * SHARD, TOTAL - 1]
    mask[numbers] = True
    part = Subset(Numbered(range(TOTAL), label=[0] * TOTAL), mask)
    assert part.shard_sizes.tolist() == [4, 3, 0, 2]
    assert part.fields == ("image", "label")
    for at_once in (1, 2, 10):
        assert everything(part, at_once) == numbers
    assert part.read(2, 0, 0) == []


def test_neighbours_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Numbered(range(SHARD))
    reads: list[tuple[int, int, int]] = []
    read = source.read
    monkeypatch.setattr(source, "read", lambda *where: reads.append(where) or read(*where))
    part = Subset(source, np.array([True, True, False, True, True, True, False]))
    part.read(0, 1, 3)
    assert reads == [(0, 1, 1), (0, 3, 2)]


def test_what_is_held_out_is_drawn_by_the_seed_and_in_one_part_only() -> None:
    source = Numbered(range(TOTAL))
    rest, held = hold_out(source, 0.2, seed=1)
    assert len(everything(held, 4)) == 5
    assert sorted(everything(rest, 4) + everything(held, 4)) == list(range(TOTAL))
    again, other = hold_out(source, 0.2, seed=1), hold_out(source, 0.2, seed=2)
    assert everything(again[1], 4) == everything(held, 4) != everything(other[1], 4)
    assert len({rest.fingerprint, held.fingerprint, other[1].fingerprint}) == 3
    assert again[0].fingerprint == rest.fingerprint
    assert len(everything(hold_out(source, 0.001, 0)[1], 4)) == 1, "one at least"
    with pytest.raises(CorekitError, match="a data set of 1 samples cannot be trained on with some "
                                           "held out"):
        hold_out(Numbered([0]), 0.5, 0)
