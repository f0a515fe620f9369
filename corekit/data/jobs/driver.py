"""Work over a data set: a job makes one shard of one shard, and drivers repeat it for all.

What a shard becomes depends on the job, its arguments and that shard alone, so it does not matter
who does which, or how often it was begun. Each shard lies in the output folder under its own name,
with a record beside it of its samples, bytes, hash and what was left out. Work that is killed goes
on where it stopped, and tasks of a cluster share nothing but the folder. Whoever ends last writes
``manifest.json`` of all records.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from corekit import registry
from corekit.data.datasets.base import BadSampleError
from corekit.data.jobs.base import Job, JobWithEnd, Progress, Refuse
from corekit.data.jobs.manifest import MANIFEST, Manifest, WrittenShard, record_path, write_tar
from corekit.data.loading.workers import in_processes
from corekit.data.shards.index import Index
from corekit.data.shards.indexing import build_index
from corekit.data.shards.members import RawSample
from corekit.data.storage import SHARDS
from corekit.errors import CorekitError
from corekit.files import leaves_folder
from corekit.records import changes, flat

DRIVER = 1  # raise it with every change that makes other bytes
READ = 64  # samples at a time

Spread = Callable[[Callable[..., tuple[WrittenShard, bool]], Sequence[tuple[object, ...]], int],
                  Iterator[tuple[WrittenShard, bool]]]


def run_job(name: str, arguments: Mapping[str, object], source: str, out: str | Path,
            pattern: str = SHARDS, workers: int = 0, task: tuple[int, int] = (0, 1),
            spread: Spread = in_processes,
            on_progress: Callable[[int, int], None] = lambda done, total: None) -> Progress:
    """Do a job on every shard of a folder that has not been done yet.

    Args:
        name, arguments: of an entry of kind ``job``; plain values, checked against its signature.
        out: the folder to write, made where there is none; with several machines, one that all of
            them see.
        pattern: of the shards' names under the source, a folder or a URL, which is searched.
        workers: processes; 0 and 1: this one.
        task: (i, n): this one takes the shards i, i + n, i + 2 n, ...
        spread: calls a function with many arguments, as
            ``corekit.data.loading.workers.in_processes`` and ``ray_cluster.in_ray`` do.
        on_progress: called after each shard with the number of this task's shards that are there,
            and of all it has.
    """
    job: Job = registry.build("job", name, arguments)
    number, tasks = task
    if not 0 <= number < tasks:
        raise CorekitError(f"there is no task {number} of {tasks}: they are counted from 0 to "
                           f"{tasks - 1}")
    if "://" in str(out) or Path(out).resolve().is_relative_to(Path(source).resolve()):
        raise CorekitError(f"{out} cannot be written: give a local folder outside {source}")
    out = Path(out)
    index = build_index(source, pattern, workers)
    outside = next(filter(leaves_folder, index.names), None)
    if outside is not None:
        raise CorekitError(f"{source} holds a shard called {outside}, which would be written "
                           f"outside {out}: name a folder above all shards as the source")
    made_by = json.loads(json.dumps({"job": name, "driver": DRIVER, "arguments": dict(arguments),
                                     "source": index.fingerprint, **job.identity()}))
    fingerprint = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
    manifest = _claim(out, fingerprint, made_by)
    work = [(name, json.dumps(dict(arguments)), fingerprint, index.alone(shard), out)
             for shard in range(number, len(index), tasks)]
    progress = Progress(len(index))
    for done, (shard, is_new) in enumerate(spread(_do_shard, work, workers), 1):
        progress.add(shard, is_new)
        on_progress(done, len(work))
    progress.complete = _merge(out, index.names, manifest, job)
    return progress


def _claim(out: Path, fingerprint: str, made_by: dict[str, object]) -> Manifest:
    """The folder's manifest, which marks the folder as this job's."""
    try:
        manifest = Manifest(fingerprint, 0, [], made_by).begin(out, SHARDS)
    except OSError as error:
        raise CorekitError(f"{out} cannot be written to: {error.strerror or error}") from None
    if manifest.fingerprint != fingerprint:
        before, now = flat(manifest.made_by), flat(made_by)
        different = [key for key in sorted(before.keys() | now.keys())
                     if before.get(key, ...) != now.get(key, ...)]
        raise CorekitError(f"{out} holds other shards ({changes(before, now, different)}): "
                           "choose another folder, or remove this one")
    return manifest


@lru_cache(maxsize=1)
def _job(name: str, arguments: str, fingerprint: str) -> Job:
    """The job, built once in each process."""
    job: Job = registry.build("job", name, json.loads(arguments))
    return job


def _do_shard(name: str, arguments: str, fingerprint: str, index: Index,
              out: Path) -> tuple[WrittenShard, bool]:
    """(the shard, whether it was made now)."""
    shard = index.names[0]
    record = WrittenShard.load_record(out, shard, fingerprint)
    if record is not None and record.is_whole(out):
        return record, False
    record_path(out, shard).unlink(missing_ok=True)
    bad: Counter[str] = Counter()
    keys: set[str] = set()

    def refuse(error: BadSampleError) -> None:
        bad[error.kind] += 1

    def samples() -> Iterator[dict[str, bytes | str]]:
        job = _job(name, arguments, fingerprint)
        for key, members in job.process(_good_samples(index, refuse), refuse):
            if key in keys:
                refuse(BadSampleError("duplicate", f"{shard}: {key}"))
            else:
                keys.add(key)
                yield {"__key__": key, **members}

    (out / shard).parent.mkdir(parents=True, exist_ok=True)
    record = replace(write_tar(out, shard, samples()), bad=dict(sorted(bad.items())))
    record.save_record(out, fingerprint)
    return record, True


def _good_samples(index: Index, refuse: Refuse) -> Iterator[RawSample]:
    for first in range(0, int(index.samples[0]), READ):
        for raw in index.read_samples(0, first, min(READ, int(index.samples[0]) - first)):
            if raw.bad is None:
                yield raw
            else:
                refuse(BadSampleError(*raw.bad))


def _merge(out: Path, names: Sequence[str], manifest: Manifest, job: Job) -> bool:
    """Write the manifest of all shards; False where some are still to come."""
    shards: list[WrittenShard] = []
    for name in names:
        record = WrittenShard.load_record(out, name, manifest.fingerprint)
        if record is None or not record.is_there(out):
            return False
        shards.append(record)
    if shards != manifest.shards:
        if isinstance(job, JobWithEnd):
            job.finish([out / name for name in names], out)
        replace(manifest, samples=sum(shard.samples for shard in shards),
                shards=shards).save(out / MANIFEST)
    return True
