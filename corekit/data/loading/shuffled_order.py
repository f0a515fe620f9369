"""The order of samples: a pure function of (seed, stream, draw), computed at any step.

The data is read in *streams*. A pass lays the shards, permuted by (seed, pass), end to end as one
line; every stream owns an equal stretch of it, reads it in windows, and shuffles inside a window by
(seed, pass, stream, window). From the second pass on it takes its windows in an order of (seed,
pass, stream): where a data set has few shards, the same samples would meet in every pass. Fewer
samples than there are streams are left out of a pass, others in each.

A mixture has streams of each of its sources. Every stream deals its draws to the sources period by
period: the counts of a period are the weights' by largest remainder, their order is permuted by
(seed, stream, period).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Source, dataset_info
from corekit.errors import CorekitError
from corekit.seeds import numpy_generator

ORDER = 2  # before it, every pass took the windows of a stream one after the other


@dataclass(frozen=True)
class ShardRange:
    """``count`` neighbouring samples of one shard, from position ``first``."""

    shard: int
    first: int
    count: int


@dataclass(frozen=True)
class Position:
    """The place of a draw: the window in the pass of its source, and the position in the window."""

    pass_number: int
    window: int
    position: int
    source: int = 0


class WindowOrder:
    """The windows of a stream in the order of their turns in a pass; the last one may be smaller.

    Args:
        size: samples of every window but the last.
        count: of windows.
        last: samples of the last window.
        numbers: int32 [count], the window of each turn; None: one after the other.
    """

    def __init__(self, size: int, count: int, last: int,
                 numbers: NDArray[np.int32] | None) -> None:
        self.size, self.missing, self.numbers = size, size - last, numbers
        self.turn_of_last = count - 1 if numbers is None else int(np.argmax(numbers))

    def find(self, offset: int) -> tuple[int, int]:
        """The turn of a draw of the pass, and its place in that turn's window."""
        turn, place = divmod(offset, self.size)
        if turn > self.turn_of_last or (turn == self.turn_of_last
                                        and place >= self.size - self.missing):
            return divmod(offset + self.missing, self.size)
        return turn, place

    def number(self, turn: int) -> int:
        """The window of a turn."""
        return turn if self.numbers is None else int(self.numbers[turn])

    def start(self, window: int) -> int:
        """The first draw of a window in the pass."""
        turn = window
        if self.numbers is not None:
            turn = int(np.flatnonzero(self.numbers == window)[0])
        return turn * self.size - (self.missing if turn > self.turn_of_last else 0)


class ShuffledOrder:
    """The order in which a source's samples are drawn.

    Args:
        shard_sizes: int64 [shards], samples in each shard.
        streams: how many stretches are read side by side.
        window: samples that are read and shuffled together.
        seed: another seed, another order.
        version: ``ORDER``, or that of the corekit that began a run.

    Raises:
        CorekitError: there are fewer samples than streams.
    """

    def __init__(self, shard_sizes: NDArray[np.int64], streams: int, window: int, seed: int,
                 version: int = ORDER) -> None:
        self.shard_sizes = np.asarray(shard_sizes, dtype=np.int64)
        self.samples = int(self.shard_sizes.sum())
        self.streams, self.window, self.seed = streams, window, seed
        self.version = version
        self.stretch = self.samples // streams
        if self.stretch < 1:
            raise CorekitError(f"the data set has {self.samples} samples, fewer than "
                               f"data.streams={streams}: set data.streams to a divisor of "
                               f"engine.batch_size that is at most {self.samples}")
        self._line = lru_cache(maxsize=2)(self._lay_out)
        self._permutation = lru_cache(maxsize=4 * streams)(self._shuffle)
        self._windows = lru_cache(maxsize=2 * streams)(self._order_windows)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:  # without the caches
        return type(self), (self.shard_sizes, self.streams, self.window, self.seed, self.version)

    def of_version(self, version: int) -> "ShuffledOrder":
        """The same in the order of another version."""
        return ShuffledOrder(self.shard_sizes, self.streams, self.window, self.seed, version)

    def locate(self, stream: int, draw: int) -> Position:
        """Where the ``draw``-th draw (from 0, over all passes) of a stream lies."""
        pass_number, offset = divmod(draw, self.stretch)
        order = self._windows(pass_number, stream)
        turn, place = order.find(offset)
        window = order.number(turn)
        position = int(self._permutation(pass_number, stream, window)[place])
        return Position(pass_number, window, position)

    def draws_of(self, shard: int, position: int, before: int) -> Iterator[tuple[int, int]]:
        """(stream, draw) wherever ``locate`` gives this sample, for draws less than ``before``."""
        for pass_number in range(-(-before // self.stretch)):
            shards, starts = self._line(pass_number)
            place = int(starts[np.flatnonzero(shards == shard)[0]]) + position
            stream, offset = divmod(place, self.stretch)
            if stream < self.streams:  # else it is left out of this pass
                window, place = divmod(offset, self.window)
                permutation = self._permutation(pass_number, stream, window)
                rank = int(np.flatnonzero(permutation == place)[0])
                draw = pass_number * self.stretch + rank
                draw += self._windows(pass_number, stream).start(window)
                if draw < before:
                    yield stream, draw

    def windows(self, source: int = 0) -> int:
        """How many windows a stream has in a pass; the last may be smaller."""
        return -(-self.stretch // self.window)

    def segments(self, stream: int, pass_number: int, window: int,
                 source: int = 0) -> list[ShardRange]:
        """The ranges to read for one window, in the order of its positions."""
        shards, starts = self._line(pass_number)
        first = stream * self.stretch + window * self.window
        last = first + self._window_size(window)
        ranges = []
        index = int(np.searchsorted(starts, first, side="right")) - 1
        while first < last:
            shard = int(shards[index])
            count = min(last, int(starts[index + 1])) - first
            if count > 0:
                ranges.append(ShardRange(shard, first - int(starts[index]), count))
            first += count
            index += 1
        return ranges

    def _window_size(self, window: int) -> int:
        return min(self.window, self.stretch - window * self.window)

    def _lay_out(self, pass_number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        generator = numpy_generator(self.seed, "shards", pass_number)
        shards = generator.permutation(len(self.shard_sizes))
        starts = np.zeros(len(shards) + 1, dtype=np.int64)
        np.cumsum(self.shard_sizes[shards], out=starts[1:])
        return shards, starts

    def _order_windows(self, pass_number: int, stream: int) -> "WindowOrder":
        count = self.windows()
        numbers = None
        if pass_number and self.version >= 2:
            generator = numpy_generator(self.seed, "windows", pass_number, stream)
            numbers = generator.permutation(count).astype(np.int32)
        return WindowOrder(self.window, count, self._window_size(count - 1), numbers)

    def _shuffle(self, pass_number: int, stream: int, window: int) -> NDArray[np.int64]:
        generator = numpy_generator(self.seed, "window", pass_number, stream, window)
        return generator.permutation(self._window_size(window))


class MixedOrder:
    """The order in which the samples of a mixture are drawn.

    Every source has an order of the same streams; ``counts`` are its draws in a stream's period.
    """

    def __init__(self, orders: Sequence[ShuffledOrder], counts: Sequence[int], seed: int) -> None:
        self.orders, self.counts, self.seed = list(orders), list(counts), seed
        self.period, self.streams = sum(counts), orders[0].streams
        self.first_shard = np.cumsum([0, *(len(order.shard_sizes) for order in orders)]).tolist()
        self._dealt = lru_cache(maxsize=self.streams)(self._deal)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:  # without the caches
        return type(self), (self.orders, self.counts, self.seed)

    def of_version(self, version: int) -> "MixedOrder":
        """The same in the order of another version."""
        return MixedOrder([order.of_version(version) for order in self.orders], self.counts,
                          self.seed)

    def locate(self, stream: int, draw: int) -> Position:
        """Where the ``draw``-th draw (from 0, over all periods) of a stream lies."""
        period, place = divmod(draw, self.period)
        sources, earlier = self._dealt(stream, period)
        source = int(sources[place])
        draw = period * self.counts[source] + int(earlier[place])
        return replace(self.orders[source].locate(stream, draw), source=source)

    def draws_of(self, shard: int, position: int, before: int) -> Iterator[tuple[int, int]]:
        """(stream, draw) wherever ``locate`` gives this sample, for draws less than ``before``."""
        source = int(np.searchsorted(self.first_shard, shard, side="right")) - 1
        count = self.counts[source]
        own = self.orders[source].draws_of(shard - self.first_shard[source], position,
                                           -(-before // self.period) * count)
        for stream, own_draw in own:
            period, rank = divmod(own_draw, count)
            sources, earlier = self._dealt(stream, period)
            place = int(np.flatnonzero((sources == source) & (earlier == rank))[0])
            if period * self.period + place < before:
                yield stream, period * self.period + place

    def windows(self, source: int = 0) -> int:
        """How many windows a stream has in a pass of that source."""
        return self.orders[source].windows()

    def segments(self, stream: int, pass_number: int, window: int,
                 source: int = 0) -> list[ShardRange]:
        """The ranges to read for a window of a source; shards are numbered through all sources."""
        return [replace(segment, shard=segment.shard + self.first_shard[source])
                for segment in self.orders[source].segments(stream, pass_number, window)]

    def _deal(self, stream: int, period: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """The source of every draw of a period, and how many earlier draws are of that source."""
        generator = numpy_generator(self.seed, "mixture", stream, period)
        in_order = np.repeat(np.arange(len(self.counts), dtype=np.uint16), self.counts)
        sources = generator.permutation(in_order)
        earlier = np.zeros(self.period, dtype=np.int32)
        for source, count in enumerate(self.counts):
            earlier[sources == source] = np.arange(count)
        return sources, earlier


def order_of(source: Source, streams: int, window: int, seed: int,
             version: int = ORDER) -> ShuffledOrder | MixedOrder:
    """The order of a source's samples: its own method ``order``, or a shuffled one."""
    make_order = dataset_info(source).order
    if make_order is not None:
        return make_order(streams, window, seed).of_version(version)
    return ShuffledOrder(source.shard_sizes, streams, window, seed, version)
