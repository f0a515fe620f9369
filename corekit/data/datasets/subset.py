"""Some samples of a source as a source of their own."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Sample, Source
from corekit.errors import CorekitError
from corekit.seeds import derive_seed


class Subset:
    """The chosen samples of a source, in its order and its shards.

    Args:
        source: the samples.
        chosen: bool [samples], which of them.
    """

    def __init__(self, source: Source, chosen: NDArray[np.bool_]) -> None:
        self.source, self.fields = source, source.fields
        edges = np.cumsum(source.shard_sizes)[:-1]
        self.positions = [np.flatnonzero(part) for part in np.split(chosen, edges)]
        self.shard_sizes = np.array([len(part) for part in self.positions], dtype=np.int64)
        self.fingerprint = hashlib.sha256(source.fingerprint.encode() +
                                          np.packbits(chosen).tobytes()).hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[object]:
        """Handles of neighbours in this part, by one read for neighbours in the source."""
        wanted = self.positions[shard][first:first + count]
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        return [handle for run in runs if len(run)
                for handle in self.source.read(shard, int(run[0]), len(run))]

    def decode(self, handle: object) -> Sample:
        """As the source does."""
        return self.source.decode(handle)


def hold_out(source: Source, fraction: float, seed: int) -> tuple[Subset, Subset]:
    """The samples to train on, and those held out: a share drawn by the seed, at least one.

    Raises:
        CorekitError: nothing is left to train on.
    """
    total = int(source.shard_sizes.sum())
    held = max(1, round(total * fraction))
    if held >= total:
        raise CorekitError(f"a data set of {total} samples cannot be trained on with some held out")
    chosen = np.zeros(total, dtype=np.bool_)
    chosen[np.random.Generator(
        np.random.Philox(key=derive_seed(seed, "held out"))).permutation(total)[:held]] = True
    return Subset(source, ~chosen), Subset(source, chosen)
