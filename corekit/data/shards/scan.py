"""The places where the samples of a tar file begin.

A sample is a run of neighbouring members that share a key, as WebDataset has it. A shard that was
cut short is read as far as it goes; the sample that the cut went through counts as a bad one.
"""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from corekit.data.shards.members import member_key
from corekit.data.storage import Storage, retry

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Scan:
    """The samples of a tar file, as its headers show them."""

    offsets: Offsets  # where its samples begin and the last one ends
    complete: bool  # it ends as a tar file should
    problem: str | None = None  # why it is no tar file; its bytes then count as one bad sample


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
                return Scan(_offsets(starts, end), complete=False)
            file.seek(end)
            last = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError) as error:
        size = file.seek(0, io.SEEK_END)
        offsets = np.array([0, min(size, tarfile.BLOCKSIZE)], dtype=np.int64)
        return Scan(offsets, complete=False, problem=f"is not a tar file: {error}")
    # a header that is cut or broken: the sample before it is not to be trusted
    if last.strip(b"\0"):
        return Scan(_offsets(starts, end + len(last)), complete=False)
    return Scan(_offsets(starts, end), complete=len(last) == tarfile.BLOCKSIZE)


def _offsets(starts: list[int], end: int) -> Offsets:
    return np.array([*(starts or [0] * (end > 0)), end], dtype=np.int64)


def scan_stored(storage: Storage, name: str) -> Scan:
    """Find the samples of a stored tar file; a CorekitError where it cannot be read."""
    def scan_once() -> Scan:
        with storage.open(name) as file:
            return scan_shard(file)

    return retry(scan_once, storage.where(name), storage.failures)


def hash_offsets(offsets: Offsets) -> str:
    """16 hexadecimal digits that stand for a shard's offsets."""
    return hashlib.sha256(offsets.tobytes()).hexdigest()[:16]
