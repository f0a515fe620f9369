"""Some samples of a source as a source of their own."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Sample, Source
from corekit.errors import CorekitError
from corekit.seeds import numpy_generator


class Subset:
    """Some samples of a source, in its order and its shards; ``mask`` is bool [samples]."""

    def __init__(self, source: Source, mask: NDArray[np.bool_]) -> None:
        self.source, self.fields = source, source.fields
        edges = np.cumsum(source.shard_sizes)[:-1]
        self.positions = [np.flatnonzero(part) for part in np.split(mask, edges)]
        self.shard_sizes = np.array([len(part) for part in self.positions], dtype=np.int64)
        decides = source.fingerprint.encode() + np.packbits(mask).tobytes()
        self.fingerprint = hashlib.sha256(decides).hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[object]:
        """Handles of neighbours in this part, by one read for neighbours in the source."""
        positions = self.positions[shard][first:first + count]
        runs = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
        return [handle for run in runs if len(run)
                for handle in self.source.read(shard, int(run[0]), len(run))]

    def decode(self, handle: object) -> Sample:
        """The source's own decoding of the sample."""
        return self.source.decode(handle)


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Subset, Subset]:
    """The samples to train on, and those held out: a share drawn by the seed, at least one.

    Raises:
        CorekitError: nothing is left to train on.
    """
    total = int(source.shard_sizes.sum())
    count = max(1, round(total * fraction))
    if count >= total:
        raise CorekitError(f"a data set of {total} samples cannot be trained on with some held out")
    is_held_out = np.zeros(total, dtype=np.bool_)
    is_held_out[numpy_generator(seed, "held out").permutation(total)[:count]] = True
    return Subset(source, ~is_held_out), Subset(source, is_held_out)
