"""The order of samples: every sample once a pass, any step at once, another seed another order."""

import pickle
import time
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

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


def share_met_before(batches: Iterable[NDArray[np.int64]], samples: int) -> float:
    """Of the pairs in batches [passes, steps, B], how many were in a batch of an earlier pass."""
    met, again, pairs = np.zeros((samples, samples), dtype=bool), 0, 0
    for number, of_pass in enumerate(batches):
        for batch in of_pass:
            first, second = np.triu_indices(len(batch), 1)
            if number:
                again += int(met[batch[first], batch[second]].sum())
                pairs += len(first)
        for batch in of_pass:
            met[np.ix_(batch, batch)] = True
    return again / pairs


@pytest.mark.parametrize("sizes", [[1920], [480] * 4, [100] * 19 + [20]])
def test_later_passes_bring_other_samples_together(sizes: list[int]) -> None:
    samples, streams, passes, batch = 1920, 16, 5, 32
    order = ShuffledOrder(np.array(sizes), streams, 32, seed=1)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    drawn = np.array([[starts[shard] + position for shard, position in
                       (sample_of(order, stream, draw) for draw in range(passes * order.stretch))]
                      for stream in range(streams)])
    per_stream = batch // streams
    ours = [np.stack(np.split(of_pass, order.stretch // per_stream, 1)).reshape(-1, batch)
            for of_pass in np.split(drawn, passes, 1)]
    generator = np.random.default_rng(0)
    shuffled = [generator.permutation(samples).reshape(-1, batch) for _ in range(passes)]
    assert share_met_before(ours, samples) < 1.2 * share_met_before(shuffled, samples)


@pytest.mark.parametrize(("size", "window"), [(23, 5), (20, 5), (3, 8)])
def test_a_draw_is_found_again_in_every_pass(size: int, window: int) -> None:
    order = ShuffledOrder(np.array([size, size]), 2, window, seed=4)
    before = 4 * order.stretch
    for stream in range(2):
        for draw in range(before):
            sample = sample_of(order, stream, draw)
            assert (stream, draw) in set(order.draws_of(*sample, before))


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
