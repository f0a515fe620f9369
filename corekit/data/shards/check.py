"""The check of a folder of shards, which reads and decodes every sample once."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corekit import registry
from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import Field, find_field, pictures_of
from corekit.data.image_grid import captioned_grid
from corekit.data.loading.workers import in_processes
from corekit.data.shards.members import RawSample

K = TypeVar("K")
V = TypeVar("V")
NAMED = 5  # bad samples of each kind that are named
READ = 256  # samples at a time


class RawSamples(Protocol):
    """What is checked: an index of shards, or a table."""

    samples: NDArray[np.int64]  # of each shard

    def read_samples(self, shard: int, first: int, count: int) -> list[RawSample]: ...


@dataclass
class Findings:
    """Counts of samples and values, and for each kind of bad sample how many and the first few.

    ``widths``, ``heights`` and ``lengths`` (captions, in characters) count values; ``missing`` has
    the samples without some known fields, by the names of these, with what they have instead:
    whether that is bad shows only when all are seen. ``values`` counts, by field, what can be
    compared of the first samples of each shard.
    """

    samples: int = 0
    extensions: Counter[str] = dataclass_field(default_factory=Counter)
    widths: Counter[int] = dataclass_field(default_factory=Counter)
    heights: Counter[int] = dataclass_field(default_factory=Counter)
    lengths: Counter[int] = dataclass_field(default_factory=Counter)
    values: dict[str, Counter[Hashable]] = dataclass_field(default_factory=dict)
    bad: dict[str, tuple[int, list[str]]] = dataclass_field(default_factory=dict)
    missing: dict[tuple[str, ...], tuple[int, list[tuple[str, str]]]] = dataclass_field(
        default_factory=dict)

    def add(self, other: "Findings") -> None:
        """Add the findings of other samples."""
        self.samples += other.samples
        self.extensions.update(other.extensions)
        self.widths.update(other.widths)
        self.heights.update(other.heights)
        self.lengths.update(other.lengths)
        for name, counts in other.values.items():
            self.values.setdefault(name, Counter()).update(counts)
        _add_examples(self.bad, other.bad)
        _add_examples(self.missing, other.missing)

    def problems(self) -> dict[str, tuple[int, list[str]]]:
        """kind -> (count, first few), with samples that lack an image, or what most others have."""
        problems = dict(self.bad)
        absent: Counter[str] = Counter()
        for fields, (count, _) in self.missing.items():
            absent.update(dict.fromkeys(fields, count))
        wanted = {name for name, count in absent.items()
                  if name == "image" or 2 * count < self.samples}
        for fields, (count, examples) in self.missing.items():
            lacks = "; ".join(f"no {' or '.join(find_field(name).extensions)} for {name}"
                              for name in fields if name in wanted)
            if lacks:
                names = [f"{where}: {lacks}; it has {has}" for where, has in examples]
                _add_examples(problems, {"missing_field": (count, names)})
        return problems


def _add_examples(examples: dict[K, tuple[int, list[V]]],
                  more: Mapping[K, tuple[int, list[V]]]) -> None:
    """Add up counts, and keep the first few names."""
    for kind, (count, names) in more.items():
        before, first = examples.get(kind, (0, []))
        examples[kind] = before + count, [*first, *names][:NAMED]


def known_fields() -> dict[str, Field]:
    """The fields that members are known to hold by a first extension that no other field has."""
    fields = {name: find_field(name) for name in registry.entries("field")}
    stored = {name: each for name, each in fields.items()
              if each.extensions and ":" not in each.extensions[0] and not each.several}
    claims = Counter(extension for each in fields.values() if not each.several
                     for extension in each.extensions)
    return {name: each for name, each in stored.items() if claims[each.extensions[0]] == 1}


def check_index(index: RawSamples, workers: int = 0) -> Iterator[Findings]:
    """The findings of each shard, as soon as it is checked."""
    shards = range(len(index.samples))
    return in_processes(check_shard, [(index, shard) for shard in shards], workers)


def check_shard(index: RawSamples, shard: int) -> Findings:
    """Read and decode every sample of one shard, every picture at its full size."""
    findings, fields = Findings(), known_fields()
    samples = int(index.samples[shard])
    for first in range(0, samples, READ):
        for raw in index.read_samples(shard, first, min(READ, samples - first)):
            try:
                _look_at(raw, findings, fields, compares=first == 0)
            except BadSampleError as error:
                findings.add(Findings(bad={error.kind: (1, [error.message])}))
    findings.samples = samples
    return findings


def _look_at(raw: RawSample, findings: Findings, fields: Mapping[str, Field],
             compares: bool) -> None:
    where = f"{raw.where}: {raw.key}"
    if raw.bad is not None:
        raise BadSampleError(raw.bad[0], f"{where}: {raw.bad[1]}")
    from corekit.data.shards.check_source import check_annotations, conversation_of

    findings.extensions.update(list(raw.members))
    conversation = conversation_of(raw)
    for picture in pictures_of(conversation or {}):
        findings.widths[picture.width] += 1
        findings.heights[picture.height] += 1
    if conversation is not None:
        return
    absent, image = list[str](), None
    for name, field in fields.items():
        content = raw.member(field.extensions, field)
        if content is None:
            absent.append(name)
            continue
        value = field.decode(content, where)
        if isinstance(value, Image.Image):
            value.load()
            image = value
            findings.widths[value.width] += 1
            findings.heights[value.height] += 1
        elif isinstance(value, str):
            findings.lengths[len(value)] += 1
        if compares and field.noun:
            counts = findings.values.setdefault(name, Counter())
            counts.update(field.comparable({name: [value]}))
    if image is not None:
        check_annotations(raw, image)
    if absent:
        has = ", ".join(raw.members) or "nothing"
        findings.add(Findings(missing={tuple(absent): (1, [(where, has)])}))


def picture_of(index: RawSamples, count: int) -> np.ndarray:
    """uint8 [H, W, 3]: samples spread over all shards, each with its key, size and caption.

    A sample that cannot be shown is passed over for the next one.
    """
    starts = np.concatenate([[0], np.cumsum(index.samples)])
    total = int(starts[-1])
    images, captions, fields = [], [], known_fields()
    for number in range(count):
        for position in range(number * total // count, (number + 1) * total // count):
            shard = int(np.searchsorted(starts, position, side="right")) - 1
            cell = _show(index.read_samples(shard, position - int(starts[shard]), 1)[0], fields)
            if cell is not None:
                images.append(cell[0])
                captions.append(cell[1])
                break
    return captioned_grid(images, captions, columns=min(5, max(1, len(images))), lines=8)


def _show(raw: RawSample, fields: Mapping[str, Field]) -> tuple[np.ndarray, str] | None:
    """A sample's first picture and its caption: key, size and all other fields in words."""
    from corekit.data.shards.check_source import conversation_of, first_picture

    try:
        conversation = None if raw.bad is not None else conversation_of(raw)
    except BadSampleError:
        return None
    if conversation is not None:
        return first_picture({**conversation, "key": raw.key})
    image: Image.Image | None = None
    words = []
    for field in fields.values():
        content = None if raw.bad is not None else raw.member(field.extensions, field)
        if content is None:
            continue
        try:
            value = field.decode(content, raw.key)
            if isinstance(value, Image.Image):
                value.load()
                image = image or value
            else:
                words.append(str(value))
        except BadSampleError:
            if field.geometry == "image":
                return None
    if image is None:
        return None
    return np.asarray(image), "\n".join([raw.key, f"{image.width} x {image.height}", *words])


def spread(values: Counter[int]) -> str:
    """``min / median / max`` of counted values."""
    ordered = sorted(values)
    cumulated = np.cumsum([values[value] for value in ordered])
    middle = ordered[int(np.searchsorted(cumulated, (cumulated[-1] + 1) // 2))]
    return f"{ordered[0]} / {middle} / {ordered[-1]}"
