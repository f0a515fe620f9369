"""The index of a folder of tar shards: how many samples each holds and where each begins.

Where a shard was whole when it was indexed and is cut short since, the index stays, so that each
sample behind the cut counts as a bad one.
"""

import hashlib
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO

import numpy as np
from numpy.typing import NDArray

from corekit.data.shards.members import (
    BLOCK,
    BROKEN,
    MOST_BYTES,
    PLAIN,
    RawSample,
    member_key,
    parse_sample,
)
from corekit.data.shards.scan import Offsets, hash_offsets, scan_stored
from corekit.data.shards.table import stored_offsets
from corekit.data.storage import Storage, retry
from corekit.errors import CorekitError

KEPT_SHARDS = 256  # of which a process remembers the offsets: 80 kB each, for 10,000 samples


@dataclass
class Index:
    """The shards of a folder: names, bytes and samples of each, and on request the offsets of one.

    ``places`` are the folders that offsets are read from; ``cut`` has the bytes left of shards that
    were cut short after they were indexed; ``modified``, when each was written, as far as known.
    """

    storage: Storage
    places: tuple[Storage, ...]
    names: list[str]
    sizes: NDArray[np.int64]
    samples: NDArray[np.int64]
    hashes: list[str]
    cut: dict[int, int] = field(default_factory=dict)
    modified: list[float | None] = field(default_factory=list)
    _kept: dict[int, Offsets] = field(default_factory=dict)  # those that could not be written
    _recent: OrderedDict[int, Offsets] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """A hash of the shards' names, sizes and offsets: another one, another order of samples."""
        digest = hashlib.sha256()
        for row in zip(self.names, self.sizes.tolist(), self.samples.tolist(), self.hashes):
            digest.update("{} {} {} {}\n".format(*row).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def version(self) -> str:
        """A hash of the fingerprint, and of when the shards were written."""
        return hashlib.sha256(f"{self.fingerprint} {self.modified}".encode()).hexdigest()

    def alone(self, shard: int) -> "Index":
        """The index of one of the shards, as number 0, to be sent to another process."""
        row = slice(shard, shard + 1)
        cut = {0: self.cut[shard]} if shard in self.cut else {}
        offsets = {0: self._kept[shard]} if shard in self._kept else {}
        return Index(self.storage, self.places, self.names[row], self.sizes[row],
                     self.samples[row], self.hashes[row], cut, self.modified[row], offsets)

    def offsets(self, shard: int) -> Offsets:
        """int64 [samples + 1]: where the samples of a shard begin, and the last one ends.

        Raises:
            CorekitError: the shard is not the one that was indexed.
        """
        if shard in self._kept:
            return self._kept[shard]
        if shard not in self._recent:
            self._recent[shard] = self._load(shard)
            if len(self._recent) > KEPT_SHARDS:
                self._recent.popitem(last=False)
        self._recent.move_to_end(shard)
        return self._recent[shard]

    def keep(self, shard: int, offsets: Offsets) -> None:
        """Remember the offsets of a shard where no folder takes them as a file."""
        self._kept[shard] = offsets

    def _load(self, shard: int) -> Offsets:
        name = self.names[shard]
        for place in self.places:
            offsets = stored_offsets(place, name, self.hashes[shard])
            if offsets is not None and len(offsets) == self.samples[shard] + 1:
                return offsets
        offsets = scan_stored(self.storage, name).offsets
        if hash_offsets(offsets) != self.hashes[shard]:
            raise CorekitError(f"{self.storage.where(name)} has changed since it was indexed: "
                               "start the run again")
        return offsets

    def read(self, shard: int, first: int, count: int) -> Iterator[tuple[bytes, int]]:
        """(bytes, expected length) of neighbouring samples by one read; cut shards have less.

        Samples too large to be read together are read one by one, and one too large by itself has
        no bytes.
        """
        bounds = self.offsets(shard)[first:first + count + 1].tolist()
        if bounds[-1] - bounds[0] > MOST_BYTES:
            for position in range(count if count > 1 else 0):
                yield from self.read(shard, first + position, 1)
            if count == 1:
                yield b"", bounds[-1] - bounds[0]
            return
        begin, end = bounds[0], min(bounds[-1], self.cut.get(shard, bounds[-1]))
        content = self.storage.read(self.names[shard], begin, end) if begin < end else b""
        for low, high in pairwise(bounds):
            yield content[low - begin:high - begin], high - low

    def read_samples(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The members of neighbouring samples, by one ranged read; nothing is decoded."""
        where = self.storage.where(self.names[shard])
        return [parse_sample(where, first + position, content, length)
                for position, (content, length) in enumerate(self.read(shard, first, count))]

    def keys(self, shard: int) -> list[str]:
        """The keys of a shard's samples, by the header of the first member of each."""
        def read_once() -> list[bytes]:
            with self.storage.open(self.names[shard]) as file:
                return [_block(file, offset) for offset in self.offsets(shard)[:-1].tolist()]

        headers = retry(read_once, self.storage.where(self.names[shard]), self.storage.failures)
        return [_key(header) or self.read_samples(shard, position, 1)[0].key
                for position, header in enumerate(headers)]


def _block(file: IO[bytes], offset: int) -> bytes:
    file.seek(offset)
    return file.read(BLOCK)


def _key(header: bytes) -> str | None:
    """The key of a sample by the header that it begins with; None where that is of another kind."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except BROKEN:
        return None
    return member_key(member.name)[0] if member.type in PLAIN else None
