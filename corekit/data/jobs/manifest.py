"""Shards that were written: each whole or not at all, and a manifest of their counts and hashes."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from corekit.errors import CorekitError

MANIFEST = "manifest.json"
PATIENCE = 5.0  # seconds: what a killed process may take to go

_WRITING = ".writing"  # ends the name of what is not whole yet; readers look for *.tar


@dataclass(frozen=True)
class WrittenShard:
    """One shard as it was written: its file name, how many samples, how many bytes, and their
    SHA-256.

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


@dataclass
class Manifest:
    """What a folder of shards holds; ``fingerprint`` is another one for other samples or other
    arguments.

    ``made_by`` says in words what the fingerprint is of, where that is of use.
    """

    fingerprint: str
    samples: int
    shards: list[WrittenShard] = field(default_factory=list)
    made_by: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest.

        Raises:
            CorekitError: the file is not a manifest.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            shards = [WrittenShard(**entry) for entry in content["shards"]]
            return cls(content["fingerprint"], content["samples"], shards,
                       content.get("made_by", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise CorekitError(f"{path} is no manifest that corekit wrote ({error}); choose "
                               f"another folder") from None

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        replace_text(path, json.dumps(asdict(self), indent=1) + "\n")


def write_tar(folder: Path, name: str, samples: Iterable[Mapping[str,
                                                                 bytes | str]]) -> WrittenShard:
    """Write one shard: of each sample its ``__key__`` and its members by their extensions, the same
    bytes every time.
    """
    from webdataset.writer import TarWriter  # imports torch

    count = 0
    with whole_file(folder / name) as file:
        with TarWriter(file, user="corekit", group="corekit", mtime=0, encoder=False) as writer:
            for sample in samples:
                writer.write(sample)
                count += 1
        size = file.tell()
        file.seek(0)
        return WrittenShard(name, count, size, _digest(file))


def replace_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with open(path, "rb") as file:
        return _digest(file)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that gets its name when the block ends well; one process at a time writes it.

    Raises:
        CorekitError: another process is writing it.
    """
    unfinished = path.with_name(path.name + _WRITING)
    with _locked(unfinished) as file:
        file.truncate(0)
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(unfinished, path)


def _locked(path: Path) -> IO[bytes]:
    """The file, made where there is none, with a lock that the system takes back when the process
    ends, however it ends.
    """
    patience = time.monotonic() + PATIENCE
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            if time.monotonic() > patience:
                raise CorekitError(f"another process is writing {path}: wait for its end, or stop "
                                   f"it") from None
            time.sleep(0.05)
            continue
        except OSError:  # a file system without locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # who had it has given it its name


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
