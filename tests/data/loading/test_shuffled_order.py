"""The order of samples: every sample once a pass, any step at once, another seed another order."""

import pickle
import time
import tracemalloc

import numpy as np
import pytest

from corekit import CorekitError
from corekit.data.loading.shuffled_order import ShuffledOrder


def sample_of(order: ShuffledOrder, stream: int, draw: int) -> tuple[int, int]:
    """(shard, position) of a draw, by walking its window."""
    where = order.locate(stream, draw)
    places = [(segment.shard, segment.first + index)
              for segment in order.segments(stream, where.pass_number, where.window)
              for index in range(segment.count)]
    return places[where.position]


@pytest.mark.parametrize(("sizes", "streams", "window"), [
    ([10, 7, 13, 1, 9], 4, 3), ([40], 8, 5), ([1] * 23, 4, 64), ([5, 0, 5], 2, 2), ([100, 3], 1, 7),
])
def test_a_pass_draws_every_sample_at_most_once_and_leaves_out_fewer_than_there_are_streams(
        sizes: list[int], streams: int, window: int) -> None:
    order = ShuffledOrder(np.array(sizes), streams, window, seed=3)
    for pass_number in range(3):
        drawn = [sample_of(order, stream, pass_number * order.stretch + offset)
                 for stream in range(streams) for offset in range(order.stretch)]
        assert len(set(drawn)) == len(drawn)
        assert sum(sizes) - len(drawn) < streams
        assert all(0 <= position < sizes[shard] for shard, position in drawn)


def test_passes_and_seeds_differ_and_the_left_out_change() -> None:
    sizes = np.array([10, 7, 13, 11])

    def whole_pass(seed: int, number: int) -> list[tuple[int, int]]:
        order = ShuffledOrder(sizes, 4, 5, seed)
        return [
            sample_of(order, stream, number * order.stretch + index) for stream in range(4)
            for index in range(order.stretch)
        ]

    assert whole_pass(0, 0) == whole_pass(0, 0)
    assert whole_pass(0, 0) != whole_pass(0, 1)
    assert whole_pass(0, 0) != whole_pass(1, 0)
    assert len({frozenset(whole_pass(0, number)) for number in range(6)}) > 1


def test_windows_are_shuffled_and_stay_together() -> None:
    order = ShuffledOrder(np.array([64]), 2, 16, seed=0)
    first = [sample_of(order, 0, draw)[1] for draw in range(16)]
    assert sorted(first) == list(range(16))
    assert first != sorted(first)


def test_fewer_samples_than_streams_is_said() -> None:
    with pytest.raises(CorekitError, match=r"3 samples, fewer than data\.streams=4"):
        ShuffledOrder(np.array([3]), 4, 16, seed=0)


def test_a_billion_samples_are_entered_anywhere_at_once() -> None:
    tracemalloc.start()
    began = time.perf_counter()
    order = pickle.loads(pickle.dumps(ShuffledOrder(np.full(130_000, 10_000), 1024, 16, seed=0)))
    for stream in range(8):  # a rank's share of 128
        where = order.locate(stream, 10_000_019)
        assert order.segments(stream, where.pass_number, where.window)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 100e6
