"""Checksums of a checkpoint's files, so that what is read is what was written."""

import json
import logging
import zlib
from pathlib import Path

from corekit.errors import CorekitError
from corekit.files import leaves_folder, set_aside

CHECKSUMS = "checksums.json"  # file, by its path in the checkpoint -> CRC-32
DAMAGED = ".damaged"  # the suffix of a checkpoint that is set aside
BLOCK = 1 << 24  # bytes that are read at once

log = logging.getLogger(__name__)


def write_checksums(checkpoint: Path) -> None:
    """Write the checksums of all files below a folder, into the folder."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    sums = {str(path.relative_to(checkpoint)): _checksum(path) for path in files}
    (checkpoint / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def damaged_file(checkpoint: Path, below: str = "") -> str | None:
    """The first file that is not as it was written, by its path in the checkpoint.

    Args:
        checkpoint: a complete one; those of an earlier corekit have no checksums.
        below: only files whose path begins so.
    """
    try:
        sums = json.loads((checkpoint / CHECKSUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return CHECKSUMS
    if not isinstance(sums, dict) or any(map(leaves_folder, sums)):
        return CHECKSUMS
    for name, checksum in sums.items():
        path = checkpoint / name
        if name.startswith(below) and (not path.is_file() or _checksum(path) != checksum):
            return str(name)
    return None


def set_aside_damaged(checkpoints: list[Path]) -> None:
    """Rename the newest checkpoints that are damaged, so that the newest whole one is gone on from.

    Args:
        checkpoints: complete ones, oldest first.

    Raises:
        CorekitError: all are damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for checkpoint in reversed(checkpoints):
        name = damaged_file(checkpoint)
        if name is None:
            break
        damaged.append((checkpoint, name))
    if damaged and len(damaged) == len(checkpoints):
        checkpoint, name = damaged[0]
        raise CorekitError(f"no checkpoint of {checkpoint.parent} is whole (in {checkpoint.name} "
                           f"{name} is not what was written): put a whole copy in its place, or "
                           "begin anew with run_dir=ANOTHER_FOLDER")
    for checkpoint, name in damaged:
        aside = set_aside(checkpoint, DAMAGED)
        log.warning("%s is damaged (%s is not what was written): it is kept as %s, and the "
                    "checkpoint before it is gone on from", checkpoint, name, aside.name)


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
