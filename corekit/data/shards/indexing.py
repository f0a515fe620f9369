"""Indexing a folder of shards: tables give what they have, and the rest is scanned.

Training and evaluation (``load_index``) write nothing into a folder of data: what they have to
index lies in the user's cache folder. ``corekit data index`` (``build_index``) writes beside the
shards, where every user of the folder finds it.
"""

import logging
import shlex
import time
from pathlib import Path

import numpy as np
from braceexpand import braceexpand

from corekit.data.loading.workers import in_processes
from corekit.data.shards.index import Index
from corekit.data.shards.scan import Offsets, Scan, hash_offsets, scan_stored
from corekit.data.shards.table import (
    ShardEntry,
    ShardTable,
    stored_offsets,
    table_beside,
    table_in_cache,
)
from corekit.data.storage import SHARDS, Storage, StoredFile
from corekit.errors import CorekitError

MOST = 10_000  # shards that training indexes itself: scanning more takes long
MANY = 16  # shards whose indexing is worth a message
COMPRESSED = (".gz", ".tgz", ".zst", ".bz2", ".xz")
SAVE_SECONDS = 30  # between two saves of a table that grows: what a killed process loses at most

log = logging.getLogger(__name__)


def load_index(root: str | Path, pattern: str = SHARDS) -> Index:
    """The shards of a folder, for training and evaluation.

    Shards that no table knows are scanned, and what was found is kept in the user's cache folder.

    Args:
        root: a folder, or a URL that fsspec understands.
        pattern: of the shards' names under it; of several, separated by ``;``, the first that any
            shard matches.

    Raises:
        CorekitError: no such folder, no shard in it, or none that can be read; shards that only lie
            in folders below it, with the default pattern, or more than 10,000 of them, where
            ``corekit data index`` has not indexed them.
    """
    storage = Storage(str(root))
    tables = [table_beside(storage), table_in_cache(storage)]
    _refuse_compressed(storage, "*.tar.gz", "*.tgz", "*.tar.zst")
    search = pattern == SHARDS and not storage.files("*.tar")
    if search and not any(table.entries for table in tables):
        raise CorekitError(f"data.root={root} holds no shard (*.tar) itself: name the folder of "
                           f"the shards, or type `{_command(root, pattern)}` if they lie in "
                           "folders below it; `corekit data openmoji OUT` writes some to try with")
    files = _matching(storage, pattern)
    unknown = [file for file in files if not any(file.name in table.entries for table in tables)]
    if unknown and (search or len(unknown) > MOST):
        raise CorekitError(f"data.root={root} holds {len(unknown):,} shards that are not indexed, "
                           f"such as {unknown[0].name}: type `{_command(root, pattern)}` first")
    return _complete(storage, files, tables, tables[1:], workers=0)


def build_index(root: str | Path, pattern: str = SHARDS, workers: int = 0,
                beside: bool = False) -> Index:
    """The shards of a folder, however many there are and wherever they lie below it.

    Args:
        root: a folder, or a URL that fsspec understands.
        pattern: of the shards' names under it, as for ``load_index``.
        workers: processes that scan; 0 and 1: this one.
        beside: write the tables beside the shards; where that is not allowed, or False, into the
            user's cache folder.

    Raises:
        CorekitError: no such folder, no shard in it, or none that can be read.
    """
    storage = Storage(str(root))
    tables = [table_beside(storage), table_in_cache(storage)]
    known, targets = (tables[:1], tables) if beside else (tables, tables[1:])
    return _complete(storage, _matching(storage, pattern), known, targets, workers)


def _matching(storage: Storage, pattern: str) -> list[StoredFile]:
    for part in pattern.split(";"):
        files = sorted({file for name in braceexpand(part) for file in storage.files(name)})
        if any(file.name.endswith(COMPRESSED) for file in files):
            _refuse_compressed(storage, part)
        if files:
            return files
    raise CorekitError(f"data.root={storage.root} holds no shard that matches '{pattern}'; "
                       "`corekit data openmoji OUT` writes some to try with")


def _refuse_compressed(storage: Storage, *patterns: str) -> None:
    """Raise a CorekitError where a folder holds compressed shards, and no others."""
    files = [file.name for pattern in patterns for file in storage.files(pattern)]
    if files and not storage.files("*.tar"):
        raise CorekitError(f"{storage.where(files[0])} is compressed, so that no sample can be "
                           "read without all before it: decompress the shards, as with gunzip")


def _command(root: str | Path, pattern: str) -> str:
    words = ["corekit", "data", "index", str(root)]
    return shlex.join(words if pattern == SHARDS else [*words, "--shards", pattern])


def _complete(storage: Storage, files: list[StoredFile], known: list[ShardTable],
              targets: list[ShardTable], workers: int) -> Index:
    """The index of these files from known tables; the other files are scanned and written down."""
    places = {table.storage.root: table.storage for table in (*known, *targets)}
    index = Index(storage, tuple(places.values()), [file.name for file in files],
                  np.array([file.size for file in files], dtype=np.int64),
                  np.zeros(len(files), dtype=np.int64), [""] * len(files),
                  modified=[file.modified for file in files])
    stale = []
    for shard, file in enumerate(files):
        entry = next((entry for table in known if (entry := table.entry(file))), None)
        if entry is None:
            stale.append(shard)
        else:
            index.samples[shard], index.hashes[shard] = entry.samples, entry.hash
    if stale:
        if len(stale) > MANY:
            log.warning("indexing %d shards under %s", len(stale), storage.root)
        _Indexing(index, files, known, targets).run(stale, workers)
    return index


class _Indexing:
    """Scans shards into the rows of an index, and into the first target table that takes files.

    ``files`` are the shards in the index's order; entries of the ``known`` tables no longer hold.
    """

    def __init__(self, index: Index, files: list[StoredFile], known: list[ShardTable],
                 targets: list[ShardTable]) -> None:
        self.index, self.files, self.targets = index, files, list(targets)
        self.before: dict[str, ShardEntry] = {}
        for table in reversed(known):
            self.before.update(table.entries)
        self.saved, self.left_out = time.monotonic(), 0

    def run(self, shards: list[int], workers: int) -> None:
        """Scan these shards; a CorekitError where not one is a tar file."""
        jobs = [(self.index.storage, self.files[shard].name, shard) for shard in shards]
        for table in self.targets:  # a table that is saved half-way must not vouch for them
            for _, name, _ in jobs:
                table.entries.pop(name, None)
        problems = []
        for shard, scan in in_processes(_scan, jobs, workers if len(jobs) >= MANY else 0):
            self._add(shard, scan)
            if scan.problem and shard not in self.index.cut:
                where = self.index.storage.where(self.files[shard].name)
                problems.append(f"{where} {scan.problem}")
        if len(problems) == len(self.files):
            raise CorekitError(problems[0])
        for problem in problems:
            log.warning("%s; it counts as one bad sample", problem)
        if self.left_out:
            log.warning("%d members of the shards under %s belong to no sample and are left out: "
                        "hidden files, such as ._ files of macOS, and names without extension",
                        self.left_out, self.index.storage.root)
        self._save()

    def _add(self, shard: int, scan: Scan) -> None:
        index, file = self.index, self.files[shard]
        size, offsets = file.size, scan.offsets
        original = None if scan.complete else self._before_cut(file, offsets)
        if original is not None:
            index.cut[shard] = file.size
            size, offsets = self.before[file.name].size, original
            log.warning("%s has been cut short: %d samples behind the cut are bad",
                        index.storage.where(file.name), len(original) - len(scan.offsets))
        self.left_out += scan.left_out
        index.sizes[shard], index.samples[shard] = size, len(offsets) - 1
        index.hashes[shard] = hash_offsets(offsets)
        entry = ShardEntry(size, len(offsets) - 1, index.hashes[shard], file.modified)
        while self.targets and not self.targets[0].save_offsets(file.name, offsets):
            refused = self.targets.pop(0).storage.root
            if self.targets:
                log.warning("%s takes no files: the index goes to %s", refused,
                            self.targets[0].storage.root)
        if self.targets:
            self.targets[0].entries[file.name] = entry
        else:
            index.keep(shard, offsets)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self._save()

    def _before_cut(self, file: StoredFile, offsets: Offsets) -> Offsets | None:
        """The offsets of the whole shard, where the file is its beginning."""
        entry = self.before.get(file.name)
        if entry is None or entry.size <= file.size:
            return None
        count = len(offsets) - 1
        for place in self.index.places:
            whole = stored_offsets(place, file.name, entry.hash)
            if whole is not None and np.array_equal(offsets[:-1], whole[:-1][:count]):
                return whole
        return None

    def _save(self) -> None:
        if self.targets:
            self.targets[0].save()
        self.saved = time.monotonic()


def _scan(storage: Storage, name: str, shard: int) -> tuple[int, Scan]:
    return shard, scan_stored(storage, name)
