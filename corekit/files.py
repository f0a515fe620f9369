"""Files that are complete or not there, locks between processes, and the user's cache folder."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

WRITING = ".writing"  # the suffix of files and folders that are not complete yet


@contextlib.contextmanager
def replacing(target: Path, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path, to write a file or a folder to; it gets the target's name at the end.

    A reader sees the old target or the new one, never half of one. Nothing is left of the
    temporary path when the block raises.

    Args:
        target: the file or folder; its parent is made where there is none.
        durable: write to the disk before renaming, so that the target outlives a power cut.
        shared: other processes may replace the same target meanwhile; each has a temporary path of
            its own, and the last one wins.
    """
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    unique = f".{secrets.token_hex(4)}" if shared else ""
    temporary = target.with_name(f".{target.name}{unique}{WRITING}")
    remove(temporary)  # left by a process that was killed
    try:
        yield temporary
        publish(temporary, target, durable)
    finally:
        remove(temporary)


def publish(temporary: Path, target: Path, durable: bool = False) -> None:
    """Give a complete file or folder its name, in one step."""
    if durable:
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
    os.replace(temporary, target)
    if durable:
        _sync(target.absolute().parent)


def write_bytes(path: Path, content: bytes, durable: bool = False) -> None:
    """Write a file that is complete or not there; several processes may write it at once."""
    with replacing(path, durable, shared=True) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Write a text file in UTF-8 that is complete or not there."""
    write_bytes(path, text.encode(), durable)


def leaves_folder(name: str) -> bool:
    """Whether a name that came from outside leads out of the folder that it is looked up in."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name


def remove(path: Path) -> None:
    """Remove a file or a folder where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def set_aside(path: Path, suffix: str) -> Path:
    """Rename a file or a folder to the first free one of NAMEsuffix, NAMEsuffix2, ..."""
    aside, number = path.with_name(path.name + suffix), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{suffix}{number}")
    os.replace(path, aside)
    return aside


def lock(path: Path, patience: float) -> IO[bytes]:
    """Open a file for reading and writing that no other process has locked.

    The system takes the lock back when the process ends, however it ends, and processes forked from
    this one do not inherit it. A file system without locks gives none.

    Args:
        path: the file, made where there is none.
        patience: seconds to wait for a process that has it.

    Returns:
        the open file; closing it gives the lock back.

    Raises:
        BlockingIOError: another process still has it.
    """
    deadline = time.monotonic() + patience
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _has_name(file, path):
                return file
            file.close()  # the process that had the lock renamed or removed the file
            continue
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return file
            file.close()
            if time.monotonic() > deadline:
                raise BlockingIOError(f"{path} is locked by another process") from None
        time.sleep(0.05)


def cache_folder() -> Path:
    """The user's cache folder: ``COREKIT_CACHE``, ``XDG_CACHE_HOME/corekit``, ``~/.cache/corekit``.

    The first of them that the environment names is taken.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.environ.get("COREKIT_CACHE") or f"{base}/corekit"
    return Path(folder).expanduser().absolute()


def _has_name(file: IO[bytes], path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
