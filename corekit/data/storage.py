"""Where data lies: a local folder, or a remote one that fsspec reaches. What cannot be read is
tried again.

Input and output fail for reasons that are no property of the data: a server that restarts, a file
system under load. So reads are tried ``TRIES`` times, waiting longer each time, before they are an
error that ends the run.
"""

import glob
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from corekit.errors import CorekitError

TRIES = 4
FIRST_WAIT = 0.5  # seconds, doubled after each try

T = TypeVar("T")


class Stored(NamedTuple):
    """A file: its name relative to the root, its bytes, and when it was written in ns where that
    can be relied on.
    """

    name: str
    size: int
    modified: int | None


class LocalStorage:
    """A folder of this machine, or one that is mounted like it."""

    def __init__(self, root: str) -> None:
        self.root = root

    def files(self, pattern: str) -> list[Stored]:
        """The files whose names match a glob pattern, sorted.

        Raises:
            CorekitError: there is no such folder.
        """
        if not os.path.isdir(self.root):
            raise CorekitError(f"data.root={self.root} is not a folder")
        found = []
        for name in glob.glob(pattern, root_dir=self.root, recursive=True):
            status = os.stat(os.path.join(self.root, name))
            if stat.S_ISREG(status.st_mode):
                found.append(Stored(name, status.st_size, status.st_mtime_ns))
        return sorted(found)

    def where(self, name: str) -> str:
        """The file's full name, for people."""
        return os.path.join(self.root, name)

    def open(self, name: str) -> IO[bytes]:
        """The file, to be read and sought in."""
        return open(self.where(name), "rb")

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """The bytes [begin, end) of a file, fewer where it ends before.

        Raises:
            CorekitError: it cannot be read, however often that is tried.
        """
        def once() -> bytes:
            with self.open(name) as file:
                file.seek(begin)
                return file.read(-1 if end is None else end - begin)

        return patiently(once, self.where(name), OSError)

    def read_if_there(self, name: str) -> bytes | None:
        """All bytes of a small file; None where there is none."""
        return self.read(name) if os.path.isfile(self.where(name)) else None

    def modified(self, name: str) -> int | None:
        """When the file was written, in ns; None where there is none."""
        try:
            return os.stat(self.where(name)).st_mtime_ns
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> bool:
        """Write beside, then rename; False where the folder cannot be written to."""
        path = self.where(name)
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            return False
        return True


class RemoteStorage:
    """A folder named by a URL, such as ``s3://bucket/shards``, read through fsspec.

    Raises:
        CorekitError: fsspec, or its driver for this kind of URL, is not installed.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._connect()

    def _connect(self) -> tuple[Any, str]:
        """File system and path. fsspec keeps one file system a process, so a forked worker gets its
        own.
        """
        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.root)
            return system, str(path).rstrip("/")
        except (ImportError, ValueError) as error:
            raise CorekitError(f"{self.root} cannot be reached: {error}; pip install "
                               f"'corekit[remote]' brings fsspec, "
                               "and each kind of storage has a driver of its own") from None

    def files(self, pattern: str) -> list[Stored]:
        """The files whose names match a glob pattern, sorted; none where the place cannot be
        listed.
        """
        system, path = self._connect()
        found: dict[str, dict[str, Any]] = patiently(
            lambda: system.glob(f"{path}/{pattern}", detail=True), self.root, Exception)
        return sorted(Stored(name[len(path):].lstrip("/"), int(status["size"] or 0), None)
                      for name, status in found.items() if status["type"] == "file")

    def where(self, name: str) -> str:
        """The file's full name, for people."""
        return f"{self.root}/{name}"

    def open(self, name: str) -> IO[bytes]:
        """The file, to be read and sought in."""
        system, path = self._connect()
        file: IO[bytes] = system.open(f"{path}/{name}", "rb")
        return file

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """The bytes [begin, end) of a file, fewer where it ends before.

        Raises:
            CorekitError: it cannot be read, however often that is tried.
        """
        def once() -> bytes:
            system, path = self._connect()
            return bytes(system.cat_file(f"{path}/{name}", start=begin, end=end))

        return patiently(once, self.where(name), Exception)

    def read_if_there(self, name: str) -> bytes | None:
        """All bytes of a small file; None where there is none."""
        def once() -> bytes | None:
            system, path = self._connect()
            try:
                return bytes(system.cat_file(f"{path}/{name}"))
            except FileNotFoundError:
                return None

        return patiently(once, self.where(name), Exception)

    def modified(self, name: str) -> int | None:
        """Nothing: what servers say of times cannot be compared."""
        return None

    def write(self, name: str, content: bytes) -> bool:
        """Write a file, which stores do at once or not at all; False where that is not allowed."""
        system, path = self._connect()
        try:
            system.pipe_file(f"{path}/{name}", content)
        except Exception:  # each driver has its own way to say that nothing can be written there
            return False
        return True


Storage = LocalStorage | RemoteStorage


def open_storage(root: str) -> Storage:
    """The folder of that name: a remote one where it is a URL."""
    return RemoteStorage(root) if "://" in root else LocalStorage(root)


def patiently(action: Callable[[], T], what: str, failures: type[Exception]) -> T:
    """What the action gives, tried again where it fails.

    Args:
        action: called up to ``TRIES`` times.
        what: the file, named in the error.
        failures: what may pass when it is tried again; drivers of remote storage raise errors of
            their own.

    Raises:
        CorekitError: it failed every time.
    """
    for attempt in range(TRIES):
        try:
            return action()
        except CorekitError:
            raise
        except failures as error:
            if attempt + 1 == TRIES:
                raise CorekitError(f"{what} cannot be read, tried {TRIES} times: "
                                   f"{type(error).__name__}: {error}") from None
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("not reached")


def lines(root: str, name: str) -> list[str]:
    """The lines of a small text file in a folder, or above it where it is a part such as
    CLIP_benchmark's ``test``.
    """
    above = os.path.dirname(root.rstrip("/")) if "://" in root else os.path.dirname(
        os.path.abspath(root))
    for folder in (root, above):
        content = open_storage(folder).read_if_there(name)
        if content is not None:
            return content.decode("utf-8").splitlines()
    return []
