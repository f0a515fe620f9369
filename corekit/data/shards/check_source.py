"""The check of objects and class maps, in a data set of any layout or beside pictures in shards."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from corekit import registry
from corekit.data.conversations.messages import in_order
from corekit.data.datasets.base import BadSampleError, Sample, Source
from corekit.data.datasets.dense.coco_instances import AnnotatedPictures
from corekit.data.fields import Field, find_field, find_fields, pictures_of
from corekit.data.image_grid import captioned_grid, outlined
from corekit.data.loading.workers import in_processes
from corekit.data.object_fields import OfObjects
from corekit.data.shards.check import NAMED, READ, Findings
from corekit.data.shards.members import (
    RawSample,
    decode_sample,
    default_fields,
    split_extensions,
)
from corekit.data.transforms.base import moved_fields
from corekit.data.transforms.moving import place


def check_source(source: Source, workers: int = 0) -> Iterator[Findings]:
    """The findings of each shard as soon as it is checked, and what was left out before."""
    if isinstance(source, AnnotatedPictures):
        damage = source.damage
        yield Findings(bad={kind: (count, [f"{source.name}: {damage.examples[kind]}"])
                            for kind, count in damage.counts.items()})
    jobs = [(source, shard) for shard in range(len(source.shard_sizes))]
    yield from in_processes(check_source_shard, jobs, workers)


def check_source_shard(source: Source, shard: int) -> Findings:
    """Read and decode every sample of one shard, every picture at its full size."""
    findings, fields = Findings(), find_fields(source.fields)
    count = int(source.shard_sizes[shard])
    for first in range(0, count, READ):
        for handle in source.read(shard, first, min(READ, count - first)):
            try:
                sample = source.decode(handle)
                check_sample(sample, fields)
            except BadSampleError as error:
                findings.add(Findings(bad={error.kind: (1, [error.message])}))
                continue
            findings.extensions.update(list(fields))
            for picture in pictures_of(sample):
                findings.widths[picture.width] += 1
                findings.heights[picture.height] += 1
    findings.samples = count
    return findings


def check_sample(sample: Sample, fields: Mapping[str, Field]) -> None:
    """Raise a BadSampleError where a picture is bad, or something in it or said of it is."""
    for picture in pictures_of(sample):
        picture.load()
    for name in moved_fields(fields):
        if name in sample:
            place(sample[name], fields[name], sample["image"], str(sample["key"]))
    if "conversation" in sample:
        try:
            in_order(sample["conversation"], len(sample.get("pictures", ())))
        except BadSampleError as error:
            raise BadSampleError(error.kind, f"{sample['key']}: {error.message}") from None


def conversation_of(raw: RawSample) -> Sample | None:
    """What a sample of a shard says of its pictures, checked; None where it is no conversation."""
    content = raw.members.get("json", b"")
    if not (b'"conversations"' in content or b'"texts"' in content):
        return None
    fields = find_fields(("pictures", "conversation"))
    extensions = split_extensions(default_fields(*fields))
    sample = {**decode_sample(raw, extensions, fields), "key": f"{raw.where}: {raw.key}"}
    check_sample(sample, fields)
    return sample


def check_annotations(raw: RawSample, image: Image.Image) -> None:
    """The same for a sample of a shard: its objects in KEY.json, its class map in KEY.png."""
    names = ["segmentation"] if "png" in raw.members and {"jpg", "jpeg"} & {*raw.members} else []
    content = raw.members.get("json", b"")
    if b'"annotations"' in content:
        names += _annotated(content)
    where, fields = f"{raw.where}: {raw.key}", {name: find_field(name) for name in names}
    sample: Sample = {"key": where, "image": image}
    for name, field in fields.items():
        member = raw.member(field.extensions, field)
        if member is not None:
            sample[name] = field.decode(member, where)
    check_sample(sample, fields)


def _annotated(content: bytes) -> list[str]:
    """The fields of objects that the annotations of a json member speak of, boxes at least."""
    try:
        keys = {key for each in json.loads(content)["annotations"] for key in each}
    except (ValueError, LookupError, TypeError, RecursionError):
        keys = set()
    return ["boxes", *(name for name in registry.names("field") if name != "boxes"
                       and isinstance(field := find_field(name), OfObjects)
                       and field.annotation in keys)]


def first_picture(sample: Sample) -> tuple[np.ndarray, str] | None:
    """A sample's first picture and its caption: key, size and conversation; None: it has none."""
    for picture in pictures_of(sample)[:1]:
        turns = [f"{role}: {content}" for role, content in sample.get("conversation", ())]
        size = f"{picture.width} x {picture.height}"
        return np.asarray(picture), "\n".join([str(sample["key"]), size, *turns])
    return None


def source_picture(source: Source, count: int) -> np.ndarray:
    """uint8 [H, W, 3]: the first sound samples of a data set, with the boxes of their objects."""
    images, captions = [], []
    handles = (handle for shard, size in enumerate(source.shard_sizes.tolist())
               for handle in source.read(shard, 0, min(size, count + NAMED)))
    for handle in handles:
        try:
            sample = source.decode(handle)
            shown = first_picture(sample)
        except BadSampleError:
            continue
        if shown is not None:
            images.append(outlined(shown[0], sample.get("boxes", [])))
            captions.append(shown[1])
        if len(images) == count:
            break
    return captioned_grid(images, captions, columns=min(5, max(1, len(images))), lines=8)
