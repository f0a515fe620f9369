"""Write any source as WebDataset shards, always the same bytes, and only the missing ones."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from corekit.data.datasets.base import BadSampleError, Sample, Source, dataset_info
from corekit.data.datasets.choices.instances import InstanceSource
from corekit.data.fields import Field, find_fields, pictures_of
from corekit.data.jobs.manifest import MANIFEST, Manifest, WrittenShard, write_tar
from corekit.data.loading.workers import in_processes
from corekit.data.shards.notes import (
    INSTANCES,
    write_instances,
    write_notes,
    write_split_notes,
)
from corekit.errors import CorekitError

WRITER = 2  # raise it with every change that makes other bytes

IMAGE_FORMATS = ("jpg", "png", "webp")


def write_shards(source: Source, out: Path, samples_per_shard: int = 1000,
                 image_format: Literal["jpg", "png", "webp"] = "jpg",
                 attribution: str | None = None, workers: int = 0,
                 split: str | None = None) -> Manifest:
    """Write all samples of a source as tar shards ``000000.tar``, ... with a ``manifest.json``.

    A sample has a member for each field that can be encoded, by the first of its extensions, such
    as ``<key>.jpg`` (or png, webp), ``.txt`` and ``.cls``; fields that are kept in ``.json`` share
    one member. Shards that are there and whole are kept, so a run that was interrupted goes on
    where it stopped. A source with class names also gets the ``classnames.txt`` and
    ``zeroshot_classification_templates.txt`` that CLIP_benchmark reads, with its ``{c}`` for the
    class name. One with choices among its pictures gets ``instances.jsonl``.

    Args:
        source: what to write; picklable where there are workers.
        out: the folder, made where there is none.
        samples_per_shard: the last shard may have fewer.
        image_format: how images are encoded.
        attribution: the text of ``ATTRIBUTION.md``; None: the source's own, if it has one.
        workers: processes that write; 0 or 1: this one does.
        split: as CLIP_benchmark lays out evaluation sets: shards ``SPLIT/0.tar``, ... and
            ``SPLIT/nshards.txt``, and in the folder itself what is known of them.

    Raises:
        CorekitError: the folder holds other shards, or an argument is out of range.
    """
    if samples_per_shard < 1:
        raise CorekitError(f"samples_per_shard must be at least 1, not {samples_per_shard}")
    if image_format not in IMAGE_FORMATS:
        raise CorekitError(f"image_format must be one of {', '.join(IMAGE_FORMATS)}, not "
                           f"'{image_format}'")
    total = int(source.shard_sizes.sum())
    decides = json.dumps([WRITER, source.fingerprint, samples_per_shard, image_format])
    fingerprint = hashlib.sha256(decides.encode()).hexdigest()
    folder, digits = (out / split, 1) if split else (out, 6)
    manifest = Manifest(fingerprint, total).begin(folder, "*.tar")
    if manifest.fingerprint != fingerprint:
        raise CorekitError(f"{folder} holds shards of other samples or with other arguments; "
                           "choose another folder, or remove this one")
    write_notes(dataset_info(source), out, attribution)
    if hasattr(source, "instances"):
        _write_choices(cast(InstanceSource, source), out)
    manifest.shards = [shard for shard in manifest.shards if shard.is_whole(folder)]
    done = {shard.name for shard in manifest.shards}
    starts = range(0, total, samples_per_shard)
    names = {first: f"{number:0{digits}d}.tar" for number, first in enumerate(starts)}
    jobs = [(source, folder, name, first, min(samples_per_shard, total - first), image_format)
            for first, name in names.items() if name not in done]
    for shard in in_processes(_write_shard, jobs, workers):  # in no set order
        manifest.shards = sorted([*manifest.shards, shard], key=lambda shard: shard.name)
        manifest.save(folder / MANIFEST)
    if split:
        write_split_notes(source.fields, out, split, len(starts))
    return manifest


def _write_choices(source: InstanceSource, out: Path) -> None:
    keys = [stored_key(source.key(number)) for number in range(int(source.shard_sizes.sum()))]
    write_instances(source.instances, keys, out / INSTANCES)


def _write_shard(source: Source, out: Path, name: str, first: int, count: int,
                 image_format: str) -> WrittenShard:
    fields = find_fields(source.fields)
    bad: Counter[str] = Counter()
    shard = write_tar(out, name, (_members(sample, fields, image_format)
                                  for sample in _samples(source, first, count, bad)))
    return replace(shard, bad=dict(bad))


def _samples(source: Source, first: int, count: int, bad: Counter[str]) -> Iterator[Sample]:
    """The samples first, ..., first + count - 1, counted over all shards of the source.

    Bad ones are counted by kind and left out.
    """
    begin = 0
    for shard, size in enumerate(source.shard_sizes.tolist()):
        skip, stop = max(0, first - begin), min(size, first + count - begin)
        if skip < stop:
            for handle in source.read(shard, skip, stop - skip):
                try:
                    sample = source.decode(handle)
                    for picture in pictures_of(sample):
                        picture.load()  # a JPEG is decoded here, where it can be bad
                except BadSampleError as error:
                    bad[error.kind] += 1
                else:
                    yield sample
        begin += size


def _members(sample: Sample, fields: Mapping[str, Field],
             image_format: str) -> dict[str, bytes | str]:
    members: dict[str, bytes | str] = {"__key__": stored_key(str(sample["key"]))}
    for name, field in fields.items():
        extensions = field.extensions
        if name not in sample or not extensions:
            continue
        if field.geometry in ("image", "pictures") and image_format in extensions:
            extension = image_format
        else:
            free = (each.partition(":")[0] for each in extensions)
            extension = next(each for each in free if each == "json" or each not in members)
        if field.several:
            members.update(_numbered(sample[name], field, extension))
            continue
        content = field.encode(sample[name], extension)
        if content is not None and extension in members:
            content = merged(members[extension], content)
        if content is not None:
            members[extension] = content
    return members


def _numbered(values: Sequence[object], field: Field, extension: str) -> dict[str, bytes]:
    """The member of a single value, or those of several by their numbers."""
    contents = [field.encode(value, extension) for value in values]
    names = ([extension] if len(values) == 1
             else [f"{number}.{extension}" for number in range(len(values))])
    return {name: content for name, content in zip(names, contents) if content is not None}


def stored_key(key: str) -> str:
    """A sample's key as shards have it: what follows a dot would be an extension."""
    folder, slash, file = key.rpartition("/")
    return folder + slash + file.replace(".", "_")


def merged(content: str | bytes, more: bytes) -> bytes:
    """Two json members of one sample as one; their annotations are of the same objects."""
    notes, others = json.loads(content), json.loads(more)
    rows = notes.get("annotations"), others.get("annotations")
    if None not in rows:
        others["annotations"] = [{**row, **other} for row, other in zip(*rows, strict=True)]
    return json.dumps({**notes, **others}).encode()
