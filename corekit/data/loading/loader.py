"""Batches of a run, the same for any number of ranks and workers, from any step on.

Ranks take contiguous streams, micro-batches blocks of streams, and workers whole streams, so the
batch of a step is its streams laid side by side whoever reads them.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from torch.utils.data import IterableDataset, get_worker_info

from corekit.data.datasets.base import BadSampleError, Batch, Sample, Source
from corekit.data.fields import Field, find_fields
from corekit.data.loading.collate import collate, join, split
from corekit.data.loading.data_processes import DataProcesses
from corekit.data.loading.shuffled_order import MixedOrder, Position, ShuffledOrder
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.base import Transform, TransformFunction
from corekit.errors import CorekitError
from corekit.seeds import derive_seed

__all__ = ["Batch", "Sampler", "Streams", "WorkerBatch", "share", "split", "step_batches"]
# (stream, source) -> (pass, window), its handles
Windows = dict[tuple[int, int], tuple[tuple[int, int], list[object]]]
ELSEWHERE = 64  # windows to look into for a good sample where one window has none


class Sampler(Protocol):
    """The contract of kind ``sampler``: which draws every stream makes for the batch of a step."""

    def draws(self, step: int) -> range: ...


@runtime_checkable
class SizedSampler(Sampler, Protocol):
    """A sampler that changes the size of the images.

    ``table`` has all its (size, samples of a stream), smallest first.
    """

    table: list[tuple[int, int]]

    def size(self, step: int) -> int:
        """The side in pixels of that step's images, or of a square of their area."""
        ...


@dataclass
class WorkerBatch:
    """One worker's share of a step: the samples of its streams, and bad ones (kind -> keys)."""

    batch: Batch
    bad: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Streams:
    """Everything that decides the batches of one rank; picklable, so that workers can have it."""

    source: Source
    order: ShuffledOrder | MixedOrder  # which sample a stream's k-th draw is
    sampler: Sampler  # which draws a step makes
    streams: range  # this rank's
    seed: int  # of the augmentations
    transform: TransformFunction | None  # of the samples, drawing from torch's generator
    tokenizer: Tokenizer | None
    fields: Mapping[str, Field] = field(init=False)  # of the source
    _transform: Transform | None = field(init=False)

    def __post_init__(self) -> None:
        transform = None if self.transform is None else Transform.of(self.transform)
        object.__setattr__(self, "fields", find_fields(self.source.fields))
        object.__setattr__(self, "_transform", transform)

    def samples(self, step: int) -> int:
        """How many samples the batch of a step holds, over all ranks."""
        return self.order.streams * len(self.sampler.draws(step))

    def parts(self, first_step: int, last_step: int, streams: range) -> Iterator[WorkerBatch]:
        """These streams' part of every step from ``first_step`` up to ``last_step``."""
        windows: Windows = {}
        for step in range(first_step, last_step):
            part = WorkerBatch({})
            size = self.sampler.size(step) if isinstance(self.sampler, SizedSampler) else None
            try:
                samples = [self._sample(windows, stream, step, slot, draw, size, part)
                           for stream in streams
                           for slot, draw in enumerate(self.sampler.draws(step))]
                part.batch = collate(samples, self.fields, self.tokenizer)
            except (CorekitError, OSError) as error:  # the training process raises it
                part.error = str(error)
            yield part

    def _sample(self, windows: Windows, stream: int, step: int, slot: int, draw: int,
                size: int | None, part: WorkerBatch) -> Sample:
        where = self.order.locate(stream, draw)
        replacement = derive_seed(self.seed, "replacement", step, stream, slot)
        for attempt, handle in enumerate(self._candidates(windows, stream, where, replacement)):
            try:
                # torchvision draws from the default generator
                torch.default_generator.manual_seed(
                    derive_seed(self.seed, "augmentation", step, stream, slot))
                sample = self.source.decode(handle)
                if self._transform is not None and {"image", "pictures"} & sample.keys():
                    sample = self._transform(sample, self.fields, size)
                return {**sample, **{name: field.tokenize(sample, self.tokenizer)
                                     for name, field in self.fields.items()}}
            except BadSampleError as error:
                # counted when it is drawn itself, not when it fails to replace another
                if attempt == 0:
                    part.bad.setdefault(error.kind, []).append(error.message)
        raise CorekitError(f"no sample can be read, neither one of the window that stream {stream} "
                           f"is in at step {step + 1} nor one of {ELSEWHERE} other windows: "
                           f"{next(iter(part.bad.values()))[0]}")

    def _candidates(self, windows: Windows, stream: int, where: Position,
                    replacement: int) -> Iterator[object]:
        """The handle drawn, then those that may replace it, as (seed, step) decides.

        That is the rest of its window, and where that is all bad, as behind the cut of a truncated
        shard, windows anywhere in this pass of its source.
        """
        handles = self._window(windows, stream, where)
        yield handles[where.position]
        for attempt in range(len(handles)):
            position = (replacement + attempt) % len(handles)
            if position != where.position:
                yield handles[position]
        for attempt in range(ELSEWHERE):
            other, window, position = (derive_seed(replacement, name, attempt)
                                       for name in ("lane", "window", "position"))
            window %= self.order.windows(where.source)
            handles = self._read(other % self.order.streams, replace(where, window=window))
            yield handles[position % len(handles)]

    def _window(self, windows: Windows, stream: int, where: Position) -> list[object]:
        place, window = (stream, where.source), (where.pass_number, where.window)
        if place not in windows or windows[place][0] != window:
            windows[place] = window, self._read(stream, where)
        return windows[place][1]

    def _read(self, stream: int, where: Position) -> list[object]:
        segments = self.order.segments(stream, where.pass_number, where.window, where.source)
        return [handle for segment in segments
                for handle in self.source.read(segment.shard, segment.first, segment.count)]


class _WorkerBatches(IterableDataset[WorkerBatch]):
    def __init__(self, streams: Streams, first_step: int, last_step: int) -> None:
        self.streams, self.first_step, self.last_step = streams, first_step, last_step

    def __iter__(self) -> Iterator[WorkerBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        own_streams = self.streams.streams[share(len(self.streams.streams), number, workers)]
        return self.streams.parts(self.first_step, self.last_step, own_streams)


def share(items: int, number: int, parts: int) -> slice:
    """The contiguous slice of ``items`` of one of ``parts`` shares of about equal size."""
    return slice(items * number // parts, items * (number + 1) // parts)


def step_batches(streams: Streams, first_step: int, last_step: int,
                 workers: int) -> Iterator[WorkerBatch]:
    """One rank's batch of every step from ``first_step`` up to ``last_step``, in order.

    Raises:
        CorekitError: a worker could not read its data.
    """
    workers = min(workers, len(streams.streams))
    dataset = _WorkerBatches(streams, first_step, last_step)
    with closing(DataProcesses(dataset, workers)) as parts:
        for _ in range(first_step, last_step):
            yield _join([next(parts) for _ in range(max(1, workers))], streams.fields)


def _join(parts: list[WorkerBatch], fields: Mapping[str, Field]) -> WorkerBatch:
    for part in parts:
        if part.error is not None:
            raise CorekitError(part.error)
    joined = WorkerBatch(join([part.batch for part in parts], fields))
    for part in parts:
        for kind, keys in part.bad.items():
            joined.bad.setdefault(kind, []).extend(keys)
    return joined
