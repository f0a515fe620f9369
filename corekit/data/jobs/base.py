"""The contract of a job, which makes one shard of one shard."""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from corekit.data.datasets.base import BadSampleError
from corekit.data.jobs.manifest import WrittenShard
from corekit.data.shards.members import RawSample

Refuse = Callable[[BadSampleError], None]


class Job(Protocol):
    """The contract of entries of kind ``job``; their constructors read nothing and load nothing."""

    def identity(self) -> dict[str, object]:
        """All that decides the samples beside the arguments, as JSON: versions, hashes of weights.

        Raises:
            CorekitError: the job cannot be done like this; nothing has been written.
        """
        ...

    def process(self, samples: Iterator[RawSample],
                refuse: Refuse) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """(key, extension -> bytes) of every sample of the new shard, from those of one shard.

        A bad sample is handed to ``refuse``, which counts it, and left out. Called once a shard, of
        one object for many.
        """
        ...


@runtime_checkable
class JobWithEnd(Protocol):
    """A job that makes something of all shards together."""

    def finish(self, shards: list[Path], out: Path) -> None:
        """Called when all shards are there, before the manifest is written.

        It may run more than once, so it writes files with ``corekit.files.write_text``.
        """
        ...


@dataclass
class Progress:
    """The progress of a job: its shards, existing and new ones, their samples, and bad ones."""

    shards: int
    existing: int = 0
    written: int = 0
    samples: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    def add(self, shard: WrittenShard, is_new: bool) -> None:
        """Count a shard that is there."""
        self.existing, self.written = self.existing + (not is_new), self.written + is_new
        self.samples += shard.samples
        self.bad.update(shard.bad)


def read_shard(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the members of a shard that a job wrote, for its ``finish``."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, file.read()
