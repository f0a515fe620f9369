"""Shards that were written: each whole or not at all, and a manifest of their counts and hashes."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from corekit.errors import CorekitError
from corekit.files import WRITING, lock, publish, write_text

MANIFEST = "manifest.json"
PATIENCE = 5.0  # seconds: what a killed process may take to go


@dataclass(frozen=True)
class WrittenShard:
    """One written shard: its file name, its samples, its bytes, and their SHA-256.

    ``bad`` has the samples it was to have and has not, counted by what was wrong with them.
    """

    name: str
    samples: int
    size: int
    sha256: str
    bad: dict[str, int] = field(default_factory=dict)

    def is_there(self, folder: Path) -> bool:
        """Whether the file is there with as many bytes."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.size

    def is_whole(self, folder: Path) -> bool:
        """Whether the file is there with these very bytes."""
        return self.is_there(folder) and sha256(folder / self.name) == self.sha256

    def save_record(self, folder: Path, fingerprint: str) -> None:
        """Write its record beside it, once it is complete."""
        content = json.dumps({"fingerprint": fingerprint, **asdict(self)})
        write_text(record_path(folder, self.name), content + "\n", durable=True)

    @classmethod
    def load_record(cls, folder: Path, name: str, fingerprint: str) -> "WrittenShard | None":
        """The record of a shard; None where it has not been made, or by another job."""
        try:
            content = json.loads(record_path(folder, name).read_text(encoding="utf-8"))
            return cls(**content) if content.pop("fingerprint") == fingerprint else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def record_path(folder: Path, shard: str) -> Path:
    """The path of a shard's record, which is written after the shard."""
    return folder / f"{shard}.json"


@dataclass
class Manifest:
    """The content of a folder of shards; ``fingerprint`` changes with samples and arguments.

    ``made_by`` says in words what the fingerprint is of, where that is of use.
    """

    fingerprint: str
    samples: int
    shards: list[WrittenShard] = field(default_factory=list)
    made_by: dict[str, object] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest; a CorekitError where the file is none."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            shards = [WrittenShard(**entry) for entry in content["shards"]]
            return cls(content["fingerprint"], content["samples"], shards,
                       content.get("made_by", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise CorekitError(f"{path} is no manifest that corekit wrote ({error}); choose "
                               "another folder") from None

    def begin(self, folder: Path, shards: str) -> "Manifest":
        """The folder's own manifest, or this one where it has none.

        This one is written before the first shard, so that no shard is without its manifest.

        Raises:
            CorekitError: there is no manifest, but shards that match the pattern.
        """
        if (folder / MANIFEST).is_file():
            return Manifest.load(folder / MANIFEST)
        if any(folder.glob(shards)):
            raise CorekitError(f"{folder} holds tar files that corekit did not write; choose "
                               "another folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / MANIFEST)
        return self

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n", durable=True)


def write_tar(folder: Path, name: str,
              samples: Iterable[Mapping[str, bytes | str]]) -> WrittenShard:
    """Write one shard, complete or not at all: the same bytes every time.

    Args:
        folder: where the shard lies.
        name: its file name.
        samples: of each its ``__key__`` and its members by their extensions.

    Raises:
        CorekitError: another process is writing the same shard.
    """
    from webdataset.writer import TarWriter  # imports torch

    path = folder / name
    temporary = path.with_name(path.name + WRITING)
    try:
        file = lock(temporary, PATIENCE)
    except BlockingIOError:
        raise CorekitError(f"another process is writing {temporary}: wait for its end, or stop "
                           "it") from None
    count = 0
    with file:
        file.truncate(0)  # what a killed process left
        with TarWriter(file, user="corekit", group="corekit", mtime=0, encoder=False) as writer:
            for sample in samples:
                writer.write(sample)
                count += 1
        size = file.tell()
        file.seek(0)
        digest = _digest(file)
        # On the disk first. Opening the file once more to do so would give the lock back.
        file.flush()
        os.fsync(file.fileno())
        publish(temporary, path)
    return WrittenShard(name, count, size, digest)


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with open(path, "rb") as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
