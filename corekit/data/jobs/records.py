"""The record beside each shard that a job wrote: ``<shard>.tar.json``, written after the shard."""

import json
from dataclasses import asdict
from pathlib import Path

from corekit.data.jobs.manifest import WrittenShard
from corekit.files import write_text


def record_path(out: Path, shard: str) -> Path:
    """Where the record of a shard lies."""
    return out / f"{shard}.json"


def read_record(out: Path, shard: str, fingerprint: str) -> WrittenShard | None:
    """What is known of a shard; None where it has not been made, or by another job."""
    try:
        content = json.loads(record_path(out, shard).read_text(encoding="utf-8"))
        return WrittenShard(**content) if content.pop("fingerprint") == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_record(out: Path, fingerprint: str, written: WrittenShard) -> None:
    """Write what is known of a shard that is complete."""
    content = json.dumps({"fingerprint": fingerprint, **asdict(written)})
    write_text(record_path(out, written.name), content + "\n", durable=True)
