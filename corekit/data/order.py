"""Which sample is drawn when: a pure function of (seed, lane, draw), by arithmetic and at any step at once.

The data is read in *lanes*. A pass lays the shards, permuted by (seed, pass), end to end as one line; every lane owns
an equal stretch of it, reads it in windows, and shuffles inside a window by (seed, pass, lane, window). Fewer samples
than there are lanes are left out of a pass, others in each.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from corekit.errors import CorekitError
from corekit.seeds import derive_seed


@dataclass(frozen=True)
class Segment:
    """``count`` neighbouring samples of one shard, from position ``first``."""

    shard: int
    first: int
    count: int


@dataclass(frozen=True)
class Draw:
    """Where one draw lies: a window (its number in the pass) and a position among the window's samples."""

    pass_number: int
    window: int
    position: int


class Order:
    """The order in which a source's samples are drawn.

    Args:
        shard_sizes: int64 [shards], samples in each shard.
        lanes: how many stretches are read side by side.
        window: samples that are read and shuffled together.
        seed: another seed, another order.

    Raises:
        CorekitError: there are fewer samples than lanes.
    """

    def __init__(self, shard_sizes: NDArray[np.int64], lanes: int, window: int, seed: int) -> None:
        self.shard_sizes = np.asarray(shard_sizes, dtype=np.int64)
        self.samples = int(self.shard_sizes.sum())
        self.lanes, self.window, self.seed = lanes, window, seed
        self.stretch = self.samples // lanes
        if self.stretch < 1:
            raise CorekitError(f"the data set has {self.samples} samples, fewer than data.lanes={lanes}: "
                               f"set data.lanes to a divisor of engine.batch_size that is at most {self.samples}")
        self._line = lru_cache(maxsize=2)(self._lay_out)
        self._permutation = lru_cache(maxsize=4 * lanes)(self._shuffle)

    def __getstate__(self) -> dict[str, object]:
        return {"shard_sizes": self.shard_sizes, "lanes": self.lanes, "window": self.window, "seed": self.seed}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def locate(self, lane: int, draw: int) -> Draw:
        """Where the ``draw``-th draw (from 0, over all passes) of a lane lies."""
        pass_number, offset = divmod(draw, self.stretch)
        window, place = divmod(offset, self.window)
        return Draw(pass_number, window, int(self._permutation(pass_number, lane, window)[place]))

    def segments(self, lane: int, pass_number: int, window: int) -> list[Segment]:
        """What to read for one window, in the order of its positions."""
        shards, starts = self._line(pass_number)
        first = lane * self.stretch + window * self.window
        last = first + self._window_size(window)
        found = []
        at = int(np.searchsorted(starts, first, side="right")) - 1
        while first < last:
            shard = int(shards[at])
            count = min(last, int(starts[at + 1])) - first
            if count > 0:
                found.append(Segment(shard, first - int(starts[at]), count))
            first += count
            at += 1
        return found

    def _window_size(self, window: int) -> int:
        return min(self.window, self.stretch - window * self.window)

    def _lay_out(self, pass_number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        generator = np.random.Generator(np.random.Philox(key=derive_seed(self.seed, "shards", pass_number)))
        shards = generator.permutation(len(self.shard_sizes))
        starts = np.zeros(len(shards) + 1, dtype=np.int64)
        np.cumsum(self.shard_sizes[shards], out=starts[1:])
        return shards, starts

    def _shuffle(self, pass_number: int, lane: int, window: int) -> NDArray[np.int64]:
        seed = derive_seed(self.seed, "window", pass_number, lane, window)
        return np.random.Generator(np.random.Philox(key=seed)).permutation(self._window_size(window))
