"""The table of a folder's shards and the offsets of each: beside them, or in the user's cache.

``index.json`` has samples, bytes and a hash of the offsets of every shard, and is all that a run
reads to start. The offsets of a shard, an int64 array [samples + 1] of byte positions (.npy), lie
in ``<shard>.tar.index`` and are read when the shard is.

Beside the shards an entry holds while the shard is as large as it was and not newer than the table.
In the cache it holds for one path, size and time.
"""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from corekit.data.shards.scan import Offsets, hash_offsets
from corekit.data.storage import Storage, StoredFile
from corekit.files import cache_folder

# The second where the first belongs to another program, such as wids: it is never overwritten.
NAMES = ("index.json", "corekit_index.json")


class ShardEntry(NamedTuple):
    """A table's row for a shard; ``modified`` is there in the cache alone."""

    size: int
    samples: int
    hash: str
    modified: float | None = None


@dataclass
class ShardTable:
    """The entries of one table by the shards' names, and where it lies.

    ``written``: when the table beside the shards was; None in the cache.
    """

    storage: Storage
    name: str
    entries: dict[str, ShardEntry] = field(default_factory=dict)
    written: float | None = None
    is_cache: bool = False

    def entry(self, file: StoredFile) -> ShardEntry | None:
        """The entry of a shard, where it still holds."""
        entry = self.entries.get(file.name)
        if entry is None or entry.size != file.size:
            return None
        if file.modified is None:  # remote: times cannot be compared
            return entry
        if self.is_cache:
            return entry if entry.modified == file.modified else None
        return entry if self.written is not None and file.modified <= self.written else None

    def save(self) -> bool:
        """Write the table; False where its folder takes no files."""
        names = sorted(self.entries)
        entries = [self.entries[name] for name in names]
        columns: dict[str, list[object]] = {"names": [*names],
                                            "bytes": [entry.size for entry in entries],
                                            "samples": [entry.samples for entry in entries],
                                            "hashes": [entry.hash for entry in entries]}
        if self.is_cache:
            columns["modified"] = [entry.modified for entry in entries]
        return self.storage.write(self.name, json.dumps(columns).encode())

    def save_offsets(self, name: str, offsets: Offsets) -> bool:
        """Write the offsets of a shard; False where the folder takes no files."""
        content = io.BytesIO()
        np.save(content, offsets)
        return self.storage.write(f"{name}.index", content.getvalue())


def table_beside(storage: Storage) -> ShardTable:
    """The table in the folder of the shards; empty where there is none."""
    for name in NAMES:
        entries = _parse(storage.read_if_there(name))
        if entries is not None:
            break
    return ShardTable(storage, name, entries or {}, storage.modified(name))


def table_in_cache(storage: Storage) -> ShardTable:
    """The table of this folder's shards in the user's cache; empty where there is none."""
    key = hashlib.sha256(storage.url.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    folder = Storage(str(cache_folder() / "indexes" / key))
    entries = _parse(folder.read_if_there(NAMES[0]))
    return ShardTable(folder, NAMES[0], entries or {}, is_cache=True)


def stored_offsets(storage: Storage, name: str, expected: str) -> Offsets | None:
    """The offsets of a shard, None where they are not there or not those of this hash."""
    content = storage.read_if_there(f"{name}.index")
    if content is None:
        return None
    try:
        offsets = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:  # bad bytes raise anything in NumPy
        return None
    in_order = (isinstance(offsets, np.ndarray) and offsets.dtype == np.int64
                and offsets.ndim == 1 and bool((np.diff(offsets, prepend=0) >= 0).all()))
    return offsets if in_order and hash_offsets(offsets) == expected else None


def _parse(content: bytes | None) -> dict[str, ShardEntry] | None:
    """The entries of a table that corekit wrote; None where another program did."""
    if content is None:
        return {}
    try:
        table = json.loads(content)
        columns = [table[name] for name in ("names", "bytes", "samples", "hashes")]
        columns.append(table.get("modified") or [None] * len(columns[0]))
        entries = {name: ShardEntry(*row) for name, *row in zip(*columns, strict=True)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return entries if all(map(_is_possible, entries.values())) else None


def _is_possible(entry: ShardEntry) -> bool:
    """Whether a shard may have so many samples: each has a header of a block."""
    whole = all(type(value) is int for value in (entry.size, entry.samples))
    return (whole and 0 <= entry.samples <= max(1, entry.size // tarfile.BLOCKSIZE)
            and isinstance(entry.hash, str))
