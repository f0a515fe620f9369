"""Batches of a run, the same for any number of ranks and workers, from any step on.

Ranks take contiguous streams, micro-batches blocks of streams, and workers whole streams, so the
batch of a step is its streams laid side by side whoever reads them.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from corekit.data.datasets.base import BadSampleError, Sample, Source
from corekit.data.loading.ragged import RAGGED, cut, join, pack
from corekit.data.loading.shuffled_order import MixedOrder, Position, ShuffledOrder
from corekit.data.loading.workers import outlive_signals
from corekit.errors import CorekitError
from corekit.seeds import derive_seed

Batch = dict[str, Any]
# field -> what a batch calls its strings
CAPTIONS = {"text": "caption", "synthetic_text": "synthetic_caption"}
# (stream, source) -> (pass, window), its handles
Windows = dict[tuple[int, int], tuple[tuple[int, int], list[Any]]]
ELSEWHERE = 64  # windows to look into for a good sample where one window has none


class Sampler(Protocol):
    """The contract of entries of kind ``sampler``: which draws every stream makes for the batch of
    a step.

    One that changes the size of the images also has ``size(step)``, the pixels of a side of that
    step's square images, or of a square of their area where they keep their shapes, and ``table``,
    all its (size, samples of a stream), smallest first. """

    def draws(self, step: int) -> range: ...


@dataclass
class WorkerBatch:
    """What one worker gives to one step: its streams' samples, and the bad ones met on the way
    (kind -> keys).
    """

    batch: Batch
    bad: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Streams:
    """Everything that decides the batches of one rank; picklable, so that workers can have it.

    Args:
        source: the samples.
        order: which sample a stream's k-th draw is.
        sampler: which draws a step makes.
        streams: this rank's streams.
        seed: of the augmentations.
        transform: PIL image -> uint8 [3, H, W], drawing from torch's generator; other fields of the
            sample that it has parameters for come by their names, as does ``size`` where the
            sampler has one for each step.
        tokenizer: list of strings -> int64 [n, L].
    """

    source: Source
    order: ShuffledOrder | MixedOrder
    sampler: Sampler
    streams: range
    seed: int
    transform: Callable[..., Tensor] | None
    tokenizer: Callable[[Sequence[str]], Tensor] | None

    def samples(self, step: int) -> int:
        """How many samples the batch of a step holds, over all ranks."""
        return self.order.streams * len(self.sampler.draws(step))

    def parts(self, first_step: int, last_step: int, streams: range) -> Iterator[WorkerBatch]:
        """These streams' part of every step from ``first_step`` up to ``last_step``."""
        windows: Windows = {}
        for step in range(first_step, last_step):
            part = WorkerBatch({})
            try:
                samples = [
                    self._sample(windows, stream, step, slot, draw, part) for stream in streams
                    for slot, draw in enumerate(self.sampler.draws(step))
                ]
                part.batch = self._collate(samples)
            # told by the training process, in one sentence
            except (CorekitError, OSError) as error:
                part.error = str(error)
            yield part

    def _sample(self, windows: Windows, stream: int, step: int, slot: int, draw: int,
                part: WorkerBatch) -> Sample:
        where = self.order.locate(stream, draw)
        replacement = derive_seed(self.seed, "replacement", step, stream, slot)
        for attempt, handle in enumerate(self._candidates(windows, stream, where, replacement)):
            try:
                # torchvision draws from the default generator; reseeding the CPU's alone takes
                # microseconds.
                torch.default_generator.manual_seed(
                    derive_seed(self.seed, "augmentation", step, stream, slot))
                sample = self.source.decode(handle)
                if self.transform is not None and "image" in sample:
                    given = {**sample, **self._offered(step)}
                    more = {
                        name: given[name] for name in fields_read(self.transform) if name in given
                    }
                    sample["image"] = self.transform(sample["image"], **more)
                return sample
            except BadSampleError as error:
                # counted when it is drawn itself, not when it fails to replace another
                if attempt == 0:
                    part.bad.setdefault(error.kind, []).append(error.message)
        raise CorekitError(f"no sample can be read, neither one of the window that stream {stream} "
                           f"is in at step {step + 1} "
                           f"nor one of {ELSEWHERE} other windows; bad so far in this step: "
                           f"{', '.join(part.bad)}")

    def _offered(self, step: int) -> dict[str, int]:
        """What a transform may ask for beside the fields of the sample."""
        return {"size": self.sampler.size(step)} if hasattr(self.sampler, "size") else {}

    def _candidates(self, windows: Windows, stream: int, where: Position,
                    replacement: int) -> Iterator[Any]:
        """The handle drawn, then what may replace it, as (seed, step) decides.

        That is the rest of its window, and where that is all bad, as behind the cut of a truncated
        shard, windows anywhere in this pass of its source. """
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

    def _window(self, windows: Windows, stream: int, where: Position) -> list[Any]:
        name = (where.pass_number, where.window)
        kept = windows.get((stream, where.source))
        if kept is None or kept[0] != name:
            windows[stream, where.source] = kept = (name, self._read(stream, where))
        return kept[1]

    def _read(self, stream: int, where: Position) -> list[Any]:
        segments = self.order.segments(stream, where.pass_number, where.window, where.source)
        return [handle for segment in segments
                for handle in self.source.read(segment.shard, segment.first, segment.count)]

    def _collate(self, samples: list[Sample]) -> Batch:
        batch: Batch = {}
        for name in samples[0] if samples else ():
            values = [sample[name] for sample in samples]
            if name in CAPTIONS and self.tokenizer is not None:
                batch[name] = self.tokenizer(values)
                batch[CAPTIONS[name]] = values
            elif name in RAGGED:
                batch[name], batch[RAGGED[name]] = pack(values)
            elif isinstance(values[0], Tensor):
                batch[name] = _laid_together(values)
            elif isinstance(values[0], (int, float)):
                batch[name] = torch.tensor(values)
            else:
                batch[name] = values
        return batch


def _laid_together(values: list[Tensor]) -> Tensor | list[Tensor]:
    """Tensors as one, or as a list where their shapes differ: views of one piece of memory, which a
    worker hands over whole.
    """
    if all(value.shape == values[0].shape for value in values):
        return torch.stack(values)
    pieces = torch.split(torch.cat([value.flatten() for value in values]),
                         [value.numel() for value in values])
    return [piece.view(value.shape) for piece, value in zip(pieces, values)]


def fields_read(transform: Callable[..., Tensor]) -> tuple[str, ...]:
    """The fields that a transform reads beside the image, which is its first parameter."""
    if inspect.isroutine(transform):
        return _parameters(transform)[1:]
    return _parameters(type(transform).__call__)[2:]  # after itself and the image


@lru_cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


class _WorkerBatches(IterableDataset[WorkerBatch]):
    def __init__(self, streams: Streams, first_step: int, last_step: int) -> None:
        self.streams, self.first_step, self.last_step = streams, first_step, last_step

    def __iter__(self) -> Iterator[WorkerBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            outlive_signals()
        mine = self.streams.streams[share(len(self.streams.streams), number, workers)]
        return self.streams.parts(self.first_step, self.last_step, mine)


def share(items: int, number: int, parts: int) -> slice:
    """The contiguous slice of ``items`` that belongs to one of ``parts`` equal shares (sizes differ
    by one at most).
    """
    return slice(items * number // parts, items * (number + 1) // parts)


def step_batches(streams: Streams, first_step: int, last_step: int,
                 workers: int) -> Iterator[WorkerBatch]:
    """One rank's batch of every step from ``first_step`` up to ``last_step``, in order.

    Raises:
        CorekitError: a worker could not read its data.
    """
    workers = min(workers, len(streams.streams))
    dataset = _WorkerBatches(streams, first_step, last_step)
    loader: DataLoader[WorkerBatch] = DataLoader(dataset, batch_size=None, num_workers=workers,
                                          prefetch_factor=2 if workers else None)
    parts = iter(loader)
    for _ in range(first_step, last_step):
        yield _join([next(parts) for _ in range(max(1, workers))])


def _join(parts: list[WorkerBatch]) -> WorkerBatch:
    for part in parts:
        if part.error is not None:
            raise CorekitError(part.error)
    if len(parts) == 1:
        return parts[0]
    joined = WorkerBatch(
        {name: _concatenate([part.batch[name] for part in parts]) for name in parts[0].batch})
    for rows, offsets in RAGGED.items():
        if rows in joined.batch:
            joined.batch[rows], joined.batch[offsets] = join([
                (part.batch[rows], part.batch[offsets]) for part in parts
            ])
    for part in parts:
        for kind, keys in part.bad.items():
            joined.bad.setdefault(kind, []).extend(keys)
    return joined


def _concatenate(values: list[Any]) -> Any:
    if all(
            isinstance(value, Tensor) and value.shape[1:] == values[0].shape[1:]
            for value in values):
        return torch.cat(values)
    return [item for value in values for item in value]


def split(batch: Batch, parts: int) -> list[Batch]:
    """A batch cut into equal micro-batches, in order."""
    count = len(batch["key"]) // parts
    return [_slice(batch, at * count, (at + 1) * count) for at in range(parts)]


def _slice(batch: Batch, first: int, last: int) -> Batch:
    part = {name: value[first:last] for name, value in batch.items()}
    for rows, offsets in RAGGED.items():
        if rows in batch:
            part[rows], part[offsets] = cut(batch[rows], batch[offsets], first, last)
    return part
