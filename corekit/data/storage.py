"""The folder of some data, local or remote, read through fsspec and with patience.

Input and output fail for reasons that are no property of the data: a server that restarts, a file
system under load. So reads are tried ``TRIES`` times, waiting longer each time, before they are an
error that ends the run.
"""

import glob
import logging
import os
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from corekit.data.reading import answered
from corekit.errors import CorekitError
from corekit.files import leaves_folder, write_bytes
from corekit.stalls import stall_seconds

SHARDS = "**/*.tar"  # the pattern of shards' names where none is given
TABLES = (".csv", ".tsv", ".parquet")  # how lists of files end
TRIES = 4
FIRST_WAIT = 0.5  # seconds, doubled after each try
# of fsspec's: they open places that a file or another URL names, and `reference` ran templates
WRAPPERS = ("async_wrapper", "asyncwrapper", "blockcache", "cached", "dask", "dir", "filecache",
            "generic", "libarchive", "reference", "simplecache", "tar", "zip")

T = TypeVar("T")

log = logging.getLogger(__name__)


class StoredFile(NamedTuple):
    """A file: its name under the root, its bytes, and when it was written.

    ``modified`` is in seconds; None for remote files, whose times cannot be compared.
    """

    name: str
    size: int
    modified: float | None


class Storage:
    """A folder, named by a path or by a URL such as ``s3://bucket/shards``.

    Raises:
        CorekitError: fsspec has no driver for this kind of URL, or it is not installed, or the URL
            leads to other places.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or root
        # one for each folder, however it is typed
        self.url = self.root if "://" in root else os.path.abspath(os.path.expanduser(root))
        self.is_local = isinstance(self._connect()[0], LocalFileSystem)
        self.failures: type[Exception] = OSError if self.is_local else Exception  # each its own

    def _connect(self) -> tuple[AbstractFileSystem, str]:
        return _connect(self.url, os.getpid())

    def is_folder(self) -> bool:
        """Whether there is such a folder, where that can be known: stores have none."""
        return not self.is_local or os.path.isdir(self._connect()[1])

    def is_file(self, name: str) -> bool:
        """Whether there is such a file."""
        system, path = self._connect()
        return bool(retry(lambda: system.isfile(f"{path}/{name}"), self.where(name), self.failures))

    def files(self, pattern: str) -> list[StoredFile]:
        """The files whose names match a glob pattern, sorted; none where nothing can be listed.

        Names that begin with a dot are hidden, links are followed, links to nowhere left out.

        Raises:
            CorekitError: there is no such local folder.
        """
        system, path = self._connect()
        if self.is_local:
            if not self.is_folder():
                hint = ""
                if self.root.lower().endswith(TABLES):
                    hint = "; dataset 'table' reads lists of files: data.dataset.name=table"
                raise CorekitError(f"data.root={self.root} is not a folder{hint}")
            return _local_files(path, pattern)
        infos: dict[str, dict[str, object]] = retry(
            lambda: system.glob(f"{path}/{pattern}", detail=True), self.root, self.failures,
            ends=False)
        files = []
        for name, info in infos.items():
            relative = name[len(path):].lstrip("/")
            hidden = f"/{relative}".count("/.") or leaves_folder(relative)
            if info["type"] == "file" and not hidden:
                files.append(StoredFile(relative, cast(int, info["size"] or 0), None))
        return sorted(files)

    def where(self, name: str) -> str:
        """The file's full name, for people."""
        return f"{self.root}/{name}"

    def open(self, name: str) -> IO[bytes]:
        """The file, to read and seek in."""
        system, path = self._connect()
        return cast(IO[bytes], system.open(f"{path}/{name}", "rb"))

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytes:
        """The bytes [begin, end) of a file; fewer where it ends before."""
        def read_once() -> bytes:
            system, path = self._connect()
            return bytes(system.cat_file(f"{path}/{name}", start=begin, end=end))

        return retry(read_once, self.where(name), self.failures)

    def read_if_there(self, name: str) -> bytes | None:
        """All bytes of a small file; None where there is none."""
        def read_once() -> bytes | None:
            system, path = self._connect()
            try:
                return bytes(system.cat_file(f"{path}/{name}"))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None

        return retry(read_once, self.where(name), self.failures)

    def modified(self, name: str) -> float | None:
        """When a local file was written, in seconds; None for a remote or missing one."""
        if not self.is_local:
            return None
        try:
            return os.stat(f"{self._connect()[1]}/{name}").st_mtime
        except OSError:
            return None

    def write(self, name: str, content: bytes) -> bool:
        """Write a file that is complete or not there; False where the folder takes none."""
        if leaves_folder(name):
            return False
        system, path = self._connect()
        try:
            if self.is_local:
                write_bytes(Path(path, name), content)
            else:  # stores write at once or not at all
                system.pipe_file(f"{path}/{name}", content)
        except self.failures:
            return False
        return True


@lru_cache(maxsize=256)
def _connect(root: str, process: int) -> tuple[AbstractFileSystem, str]:
    """File system and path; a process that was forked connects anew."""
    protocol, _, _ = root.rpartition("://")
    if not protocol:  # fsspec would take a folder called a::b for two places
        return LocalFileSystem(), root.rstrip("/")
    if "::" in root or protocol.lower() in WRAPPERS:
        raise CorekitError(f"{root} leads to its files by way of others, which may run programs "
                           "on this machine: name the folder or the URL of the files themselves")
    try:
        system, path = url_to_fs(root, **_limits(root))
    except (ImportError, ValueError) as error:
        raise CorekitError(f"{root} cannot be reached: {error}; each kind of storage has an fsspec "
                           "driver of its own, such as s3fs") from None
    return system, str(path).rstrip("/")


def _limits(root: str) -> dict[str, object]:
    """Options by which a driver gives up a connection on which nothing comes."""
    protocol, seconds = root.partition("://")[0], stall_seconds()
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout  # type: ignore[import-not-found,unused-ignore]

        key = "client_kwargs"
        limits: dict[str, object] = {"timeout": ClientTimeout(
            total=None, sock_connect=seconds, sock_read=seconds)}
    elif protocol in ("s3", "s3a"):
        key, limits = "config_kwargs", {"connect_timeout": seconds, "read_timeout": seconds}
    else:
        return {}
    return {key: {**limits, **conf.get(protocol, {}).get(key, {})}}


def _local_files(path: str, pattern: str) -> list[StoredFile]:
    """Python's glob: fsspec's follows no links to folders, and many data sets are made of those."""
    files = []
    for name in glob.glob(pattern, root_dir=path or "/", recursive=True):
        try:
            status = os.stat(f"{path}/{name}")
        except FileNotFoundError:  # a link to nowhere
            continue
        if stat.S_ISREG(status.st_mode):
            files.append(StoredFile(name, status.st_size, status.st_mtime))
    return sorted(files)


def split_pattern(root: str) -> tuple[str, str | None]:
    """(folder, pattern) of a root that names shards, as in ``web/{00000..00099}.tar``.

    None: it names a folder.
    """
    if "://" not in root and os.path.isdir(os.path.expanduser(root)):  # whatever it is called
        return root, None
    folder, _, last = root.rpartition("/")
    return (folder or ".", last) if last.endswith(".tar") or "{" in last else (root, None)


def retry(action: Callable[[], T], what: str, failures: type[Exception], ends: bool = True) -> T:
    """The result of an action that is tried again where it fails.

    Args:
        action: called up to ``TRIES`` times.
        what: the file, named in the error.
        failures: what may pass when it is tried again; drivers of remote storage raise errors of
            their own.
        ends: an action that takes minutes has failed.

    Raises:
        CorekitError: it failed every time.
    """
    for attempt in range(TRIES):
        try:
            return answered(action, what, ends)
        except CorekitError:
            raise
        except failures as error:
            if attempt + 1 == TRIES:
                raise CorekitError(f"{what} cannot be read, tried {TRIES} times: "
                                   f"{type(error).__name__}: {error}") from None
            log.warning(f"{what}: {type(error).__name__}: {error}; trying it again, "
                        f"{attempt + 2} of {TRIES}")
        time.sleep(FIRST_WAIT * 2**attempt)
    raise AssertionError("not reached")


def read_text(storage: Storage, name: str) -> str | None:
    """The text of a small file; None where there is none.

    Raises:
        CorekitError: it is not in UTF-8.
    """
    content = storage.read_if_there(name)
    try:
        return None if content is None else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CorekitError(f"{storage.where(name)} is not in UTF-8: save it so") from None


def read_lines(root: str, name: str) -> list[str]:
    """The lines of a small text file in a folder or right above it; none where there is none.

    Without spaces around them, and without empty lines at the end.

    Raises:
        CorekitError: it is not in UTF-8.
    """
    above = os.path.dirname(root.rstrip("/") if "://" in root else os.path.abspath(root))
    for folder in (root, above):
        text = read_text(Storage(folder), name)
        if text is not None:
            # not splitlines(): other characters that it splits at would shift all later lines
            return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    return []
