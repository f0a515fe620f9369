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

from corekit.data.shards.members import is_left_out, member_key
from corekit.data.storage import Storage, retry

_BEHIND = 1 << 20  # bytes behind the end that are looked at: tar pads with zeros, to 10 KiB
Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Scan:
    """The samples of a tar file, as its headers show them."""

    offsets: Offsets  # where its samples begin and the last one ends
    complete: bool  # it ends as a tar file should
    problem: str | None = None  # why it is no tar file; its bytes then count as one bad sample
    left_out: int = 0  # members that belong to no sample


def scan_shard(file: IO[bytes]) -> Scan:
    """Find the samples of one tar file."""
    starts: list[int] = []
    end, key, left_out = 0, None, 0
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8",
                          errors="surrogateescape") as archive:
            try:
                for member in archive:
                    if archive.offset <= end:  # a size below nothing would lead round in circles
                        raise tarfile.ReadError("a member of negative size")
                    end = archive.offset
                    if not member.isfile():
                        continue
                    if is_left_out(member.name):
                        left_out += 1
                    elif member_key(member.name)[0] != key:
                        key = member_key(member.name)[0]
                        starts.append(member.offset)
            # the last member was read, but ends beyond the file
            except (tarfile.TarError, EOFError):
                return Scan(_offsets(starts, end), complete=False, left_out=left_out)
            file.seek(end)
            last = file.read(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError) as error:
        size = file.seek(0, io.SEEK_END)
        offsets = np.array([0, min(size, tarfile.BLOCKSIZE)], dtype=np.int64)
        return Scan(offsets, complete=False, problem=f"is not a tar file: {error}")
    # a header that is cut or broken: the sample before it is not to be trusted
    if last.strip(b"\0"):
        return Scan(_offsets(starts, end + len(last)), complete=False, left_out=left_out)
    more = _scan_behind(file, end + len(last)) if last else None
    if more is None:
        return Scan(_offsets(starts, end), len(last) == tarfile.BLOCKSIZE, left_out=left_out)
    return Scan(np.array([*starts, *more.offsets], dtype=np.int64), more.complete,
                left_out=left_out + more.left_out)


def _scan_behind(file: IO[bytes], end: int) -> Scan | None:
    """The tar file that follows behind the zeros at the end, as where ``cat`` joined several."""
    blocks = file.read(_BEHIND)
    first = len(blocks) - len(blocks.lstrip(b"\0"))
    if first == len(blocks):
        return None
    file.seek(end + first - first % tarfile.BLOCKSIZE)
    scan = scan_shard(file)
    return scan if scan.problem is None and len(scan.offsets) > 1 else None


def _offsets(starts: list[int], end: int) -> Offsets:
    return np.array([*(starts or [0] * (end > 0)), end], dtype=np.int64)


def scan_stored(storage: Storage, name: str) -> Scan:
    """Find the samples of a stored tar file; a CorekitError where it cannot be read."""
    def scan_once() -> Scan:
        with storage.open(name) as file:
            return scan_shard(file)

    return retry(scan_once, storage.where(name), storage.failures, ends=False)


def hash_offsets(offsets: Offsets) -> str:
    """16 hexadecimal digits that stand for a shard's offsets."""
    return hashlib.sha256(offsets.tobytes()).hexdigest()[:16]
