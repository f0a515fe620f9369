"""The index of a folder of tar shards: how many samples each holds and where each begins.

``index.json`` in the folder gives samples and bytes of every shard; beside each shard lie its offsets,
``<shard>.tar.index``, an int64 array [samples + 1] of byte positions. A sample is a run of neighbouring members that
share a key, as WebDataset has it.
"""

import hashlib
import json
import os
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corekit.errors import CorekitError

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """One tar file: its path, its size in bytes, and where its samples begin and the last one ends."""

    path: Path
    size: int
    offsets: Offsets

    @property
    def samples(self) -> int:
        return len(self.offsets) - 1


def member_key(name: str) -> tuple[str, str]:
    """WebDataset's split of a member's name: the key up to the first dot of the file name, the rest the field."""
    folder, _, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def scan_shard(path: Path) -> Offsets:
    """Byte offsets of the samples of one tar file.

    Raises:
        CorekitError: the file is no tar at all.
    """
    starts: list[int] = []
    end, key = 0, None
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                this, _ = member_key(member.name)
                if this != key:
                    starts.append(member.offset)
                    key = this
                end = member.offset_data + (member.size + 511) // 512 * 512
    except (tarfile.TarError, EOFError) as error:
        if not starts:
            raise CorekitError(f"{path} is not a tar file: {error}") from None
    return np.array([*starts, end], dtype=np.int64)


def shard_paths(root: Path, pattern: str) -> list[Path]:
    """The shards of a folder, sorted by name; of patterns separated by ``;``, those of the first that any shard matches.

    Raises:
        CorekitError: no such folder, or no shard in it.
    """
    if not root.is_dir():
        raise CorekitError(f"data.root={root} is not a folder")
    for each in pattern.split(";"):
        paths = sorted(path for path in root.glob(each) if path.is_file())
        if paths:
            break
    else:
        raise CorekitError(f"data.root={root} holds no shard that matches '{pattern}'; "
                           "`corekit data openmoji OUT` writes some to try with")
    return paths


def load_index(root: Path, pattern: str = "**/*.tar") -> list[Shard]:
    """The shards of a folder with their offsets, scanning only those that have no index yet.

    The index is written beside the shards where the folder can be written to, and kept in memory elsewhere.
    """
    paths = shard_paths(root, pattern)
    missing = [path for path in paths if _read_offsets(path) is None]
    if len(missing) > 16:
        print(f"corekit: indexing {len(missing)} shards under {root}", file=sys.stderr)
    shards = []
    for path in paths:
        offsets = _read_offsets(path)
        if offsets is None:
            offsets = scan_shard(path)
            _write(_index_file(path), offsets)
        shards.append(Shard(path, path.stat().st_size, offsets))
    if missing:
        table = {str(shard.path.relative_to(root)): {"samples": shard.samples, "bytes": shard.size} for shard in shards}
        _write(root / "index.json", {"fingerprint": fingerprint(root, shards), "shards": table})
    return shards


def fingerprint(root: Path, shards: list[Shard]) -> str:
    """A hash of the shards' names, sizes and offsets: another one, another order of samples."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.path.relative_to(root)} {shard.size}\n".encode())
        digest.update(shard.offsets.tobytes())
    return digest.hexdigest()


def _index_file(path: Path) -> Path:
    return path.with_name(path.name + ".index")


def _read_offsets(path: Path) -> Offsets | None:
    try:
        offsets: Offsets = np.load(_index_file(path), allow_pickle=False)
        fresh = _index_file(path).stat().st_mtime_ns >= path.stat().st_mtime_ns
        return offsets if fresh and offsets.ndim == 1 and offsets[-1] <= path.stat().st_size else None
    except (OSError, ValueError):
        return None


def _write(path: Path, content: object) -> None:
    """Write beside, then rename; a folder that cannot be written to is left as it is."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if isinstance(content, np.ndarray):
                np.save(file, content)
            else:
                file.write(json.dumps(content, indent=1).encode())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
