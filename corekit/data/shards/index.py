"""The index of a folder of tar shards: how many samples each holds and where each begins.

``index.json`` in the folder has samples, bytes and a hash of the offsets of every shard, and is all
that a run reads to start. Beside each shard lie its offsets, ``<shard>.tar.index``, an int64 array
[samples + 1] of byte positions
(.npy), read when the shard is. A sample is a run of neighbouring members that share a key, as
WebDataset has it.

A shard that was cut short is read as far as it goes. The sample that the cut went through counts as
one bad sample; where the shard was whole when it was indexed, the index stays, so that each sample
behind the cut counts as one too.
"""

import hashlib
import io
import json
import multiprocessing
import sys
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from corekit.data.shards.members import RawSample, member_key, parse_sample
from corekit.data.storage import Storage, Stored, open_storage, patiently
from corekit.errors import CorekitError

Offsets = NDArray[np.int64]
TABLE = "index.json"
KEPT_SHARDS = 256  # of which a process remembers the offsets: 80 kB each, for 10,000 samples


@dataclass(frozen=True)
class Scan:
    """What one look at a tar file gives.

    Args:
        offsets: where its samples begin and the last one ends.
        whole: it ends as a tar file should.
        problem: why it is no tar file at all; its bytes then count as one sample, a bad one.
    """

    offsets: Offsets
    whole: bool
    problem: str | None = None


def scan_shard(file: IO[bytes]) -> Scan:
    """Find the samples of one tar file."""
    starts: list[int] = []
    end, key = 0, None
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8",
                          errors="surrogateescape") as archive:
            try:
                for member in archive:
                    if archive.offset <= end:  # a size below nothing would lead round in circles
                        raise tarfile.ReadError("a member of negative size")
                    end = archive.offset
                    if member.isfile() and member_key(member.name)[0] != key:
                        key = member_key(member.name)[0]
                        starts.append(member.offset)
            # the last member was read, but ends beyond the file
            except (tarfile.TarError, EOFError):
                return Scan(_offsets(starts, end), whole=False)
            file.seek(end)
            last = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError) as error:
        size = file.seek(0, io.SEEK_END)
        return Scan(np.array([0, min(size, tarfile.BLOCKSIZE)], dtype=np.int64), False, f"is not a "
                                                                                        f"tar "
                                                                                        f"file: "
                                                                                        f"{error}")
    # a header that is cut or broken: the sample before it is not to be trusted
    if last.strip(b"\0"):
        return Scan(_offsets(starts, end + len(last)), whole=False)
    return Scan(_offsets(starts, end), whole=len(last) == tarfile.BLOCKSIZE)


def _offsets(starts: list[int], end: int) -> Offsets:
    return np.array([*(starts or [0] * (end > 0)), end], dtype=np.int64)


@dataclass
class Index:
    """The shards of a folder: names, bytes and samples of each, and on request the offsets of one.

    ``cut`` has the bytes left of shards that were cut short after they were indexed.
    """

    storage: Storage
    names: list[str]
    sizes: NDArray[np.int64]
    samples: NDArray[np.int64]
    hashes: list[str]
    cut: dict[int, int] = field(default_factory=dict)
    # could not be written beside the shards
    _kept: dict[int, Offsets] = field(default_factory=dict)
    _recent: "OrderedDict[int, Offsets]" = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """A hash of the shards' names, sizes and offsets: another one, another order of samples."""
        digest = hashlib.sha256()
        for row in zip(self.names, self.sizes.tolist(), self.samples.tolist(), self.hashes):
            digest.update("{} {} {} {}\n".format(*row).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def alone(self, shard: int) -> "Index":
        """The index of one of the shards, as number 0: the others need not travel to another
        process.
        """
        own = slice(shard, shard + 1)
        return Index(self.storage, self.names[own], self.sizes[own], self.samples[own],
                     self.hashes[own], {0: self.cut[shard]} if shard in self.cut else {},
                     {0: self._kept[shard]} if shard in self._kept else {})

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

    def _load(self, shard: int) -> Offsets:
        name = self.names[shard]
        offsets = _stored_offsets(self.storage, name)
        if offsets is None or _hash(offsets) != self.hashes[shard]:
            offsets = _scan(self.storage, name).offsets
            if _hash(offsets) != self.hashes[shard]:
                raise CorekitError(f"{self.storage.where(name)} has changed since it was indexed: "
                                   f"start the run again")
        return offsets

    def read(self, shard: int, first: int, count: int) -> Iterator[tuple[bytes, int]]:
        """(bytes, how many they should be) of neighbouring samples, by one ranged read; cut shards
        give fewer.
        """
        bounds = self.offsets(shard)[first:first + count + 1].tolist()
        begin, end = bounds[0], min(bounds[-1], self.cut.get(shard, bounds[-1]))
        content = self.storage.read(self.names[shard], begin, end) if begin < end else b""
        for low, high in pairwise(bounds):
            yield content[low - begin:high - begin], high - low

    def read_samples(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The members of neighbouring samples, by one ranged read; nothing is decoded."""
        where = self.storage.where(self.names[shard])
        return [parse_sample(where, first + at, content, length)
                for at, (content, length) in enumerate(self.read(shard, first, count))]


def load_index(root: str | Path, pattern: str = "**/*.tar", workers: int = 0) -> Index:
    """The shards of a folder, scanning only those that have no index yet.

    The index is written beside the shards where that is allowed, and kept in memory elsewhere.

    Args:
        root: a folder, or a URL that fsspec understands.
        pattern: of the shards' names under it; of several, separated by ``;``, the first that any
            shard matches.
        workers: processes that scan; 0: this one.

    Raises:
        CorekitError: no such folder, no shard in it, or none that can be read.
    """
    storage = open_storage(str(root))
    table = _read_table(storage)
    written = storage.modified(TABLE)
    files = next(filter(None, map(storage.files, pattern.split(";"))), [])
    if not files:
        raise CorekitError(f"data.root={root} holds no shard that matches '{pattern}'; "
                           "`corekit data openmoji OUT` writes some to try with")
    stale = [
        at for at, stored in enumerate(files)
        if not _is_fresh(stored, table.get(stored.name), written)
    ]
    index = Index(storage, [stored.name for stored in files],
                  np.array([stored.size for stored in files], dtype=np.int64),
                  np.zeros(len(files), dtype=np.int64), [""] * len(files))
    for at in set(range(len(files))).difference(stale):
        _, index.samples[at], index.hashes[at] = table[files[at].name]
    if stale:
        _index_stale(index, files, stale, table, workers)
        rest = {name: row for name, row in table.items() if name not in set(index.names)}
        _write_table(index, rest)
    return index


def _index_stale(index: Index, files: Sequence[Stored], stale: list[int],
                 table: dict[str, tuple[int, int, str]], workers: int) -> None:
    """Fill the rows of these shards, from their offsets where these are newer than the shard, else
    by scanning.
    """
    if len(stale) > 16:
        print(f"corekit: indexing {len(stale)} shards under {index.storage.root}", file=sys.stderr)
    problems = {}
    scans = _scan_all(index.storage, [files[at] for at in stale],
                      [files[at].name in table for at in stale], workers)
    for at, scan in zip(stale, scans):
        name, offsets = index.names[at], scan.offsets
        old = _stored_offsets(index.storage, name) if not scan.whole and name in table else None
        if old is not None and _is_cut(table[name], old, files[at].size, offsets):
            index.cut[at] = files[at].size
            index.sizes[at], offsets = table[name][0], old
            print(f"corekit: {index.storage.where(name)} has been cut short: "
                  f"{len(old) - len(scan.offsets)} samples "
                  "behind the cut are bad", file=sys.stderr)
        else:
            if not index.storage.write(_index_file(name), _npy(offsets)):
                index._kept[at] = offsets
            if scan.problem:
                problems[index.storage.where(name)] = scan.problem
        index.samples[at], index.hashes[at] = len(offsets) - 1, _hash(offsets)
    for name, problem in problems.items():
        if len(problems) == len(files):
            raise CorekitError(f"{name} {problem}")
        print(f"corekit: {name} {problem}; it counts as one bad sample", file=sys.stderr)


def _is_fresh(stored: Stored, row: tuple[int, int, str] | None, written: int | None) -> bool:
    if row is None or row[0] != stored.size:
        return False
    return stored.modified is None or (written is not None and stored.modified <= written)


def _is_cut(row: tuple[int, int, str], old: Offsets, size: int, found: Offsets) -> bool:
    """Whether what was found is the beginning of what was indexed."""
    count = len(found) - 1
    return size < row[0] and _hash(old) == row[2] and count < len(old) and bool(
        (found[:count] == old[:count]).all())


def _scan_all(storage: Storage, files: list[Stored], changed: list[bool],
              workers: int) -> Iterator[Scan]:
    if workers <= 1 or len(files) < 16:
        yield from map(_stored_scan, [storage] * len(files), files, changed)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_stored_scan, [storage] * len(files), files, changed, chunksize=4)


def _stored_scan(storage: Storage, stored: Stored, changed: bool) -> Scan:
    """The offsets beside the shard, where they are newer: an index that was interrupted goes on
    where it stopped.

    Those of a shard that has changed since it was indexed are never trusted: a copy may be older
    than they are. """
    written = storage.modified(_index_file(stored.name))
    if not changed and written is not None and stored.modified is not None and written >= stored.modified:
        offsets = _stored_offsets(storage, stored.name)
        if offsets is not None and offsets[-1] <= stored.size:
            return Scan(offsets, whole=True)
    return _scan(storage, stored.name)


def _scan(storage: Storage, name: str) -> Scan:
    def once() -> Scan:
        with storage.open(name) as file:
            return scan_shard(file)

    return patiently(once, storage.where(name), Exception if "://" in storage.root else OSError)


def _index_file(name: str) -> str:
    return name + ".index"


def _hash(offsets: Offsets) -> str:
    return hashlib.sha256(offsets.tobytes()).hexdigest()[:16]


def _npy(offsets: Offsets) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, offsets)
    return buffer.getvalue()


def _stored_offsets(storage: Storage, name: str) -> Offsets | None:
    content = storage.read_if_there(_index_file(name))
    try:
        offsets = None if content is None else np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
    return offsets if offsets is not None and offsets.ndim == 1 and offsets.dtype == np.int64 and len(
        offsets) else None


def _read_table(storage: Storage) -> dict[str, tuple[int, int, str]]:
    """name -> (bytes, samples, hash) of the shards that ``index.json`` knows."""
    content = storage.read_if_there(TABLE)
    try:
        table: dict[str, Any] = {} if content is None else json.loads(content)
        columns = (table[name] for name in ("names", "bytes", "samples", "hashes"))
        return {name: row for name, *row in zip(*columns)}  # type: ignore[misc]
    except (ValueError, KeyError, TypeError):
        return {}


def _write_table(index: Index, rest: dict[str, tuple[int, int, str]]) -> None:
    rows = {
        **rest, **{
            name: row for name, *row in zip(index.names, index.sizes.tolist(), index.samples.tolist(
                                            ), index.hashes)
        }
    }
    names = sorted(rows)
    table = {"names": names, **{column: [rows[name][at] for name in names]
                                for at, column in enumerate(("bytes", "samples", "hashes"))}}
    index.storage.write(TABLE, json.dumps(table).encode())
