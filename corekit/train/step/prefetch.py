"""This rank's micro-batches, step by step; on a GPU the next step's travel while this one runs."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from corekit.data.datasets.base import Batch

Read = tuple[Sequence[Batch], dict[str, list[str]]]  # micro-batches, and bad samples


@dataclass(frozen=True)
class StepBatch:
    """What this rank computes in a step."""

    read: Sequence[Batch]  # its micro-batches on the CPU
    moved: Sequence[Batch]  # on the device, pictures still as bytes; on a CPU the very same
    bad: dict[str, list[str]] = field(default_factory=dict)  # messages on bad samples, by kind

    @property
    def keys(self) -> list[str]:
        """Of all its samples."""
        return [key for batch in self.read for key in batch["key"]]


Copy = tuple[StepBatch, torch.cuda.Event]  # a batch, and when it is there


def step_by_step(steps: Iterable[Read], device: torch.device) -> Iterator[StepBatch]:
    """The batches of a run's steps as they were read, on the device where that is a GPU."""
    if device.type == "cuda":
        yield from one_ahead(steps, Copier(device))
    else:
        for read, bad in steps:
            yield StepBatch(read, read, bad)


def one_ahead(steps: Iterable[Read], copier: "Copier") -> Iterator[StepBatch]:
    """The batches in order, while the copy of the next one goes on."""
    with ThreadPoolExecutor(1, "to_device") as thread:
        upcoming: Future[Copy] | None = None
        for read, bad in steps:
            current, upcoming = upcoming, thread.submit(copier.start, read, bad)
            if current is not None:
                yield copier.finish(current.result())
        if upcoming is not None:
            yield copier.finish(upcoming.result())


class Copier:
    """Copies batches to a GPU: to pinned memory, and from there on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, read: Sequence[Batch], bad: dict[str, list[str]]) -> Copy:
        """Pin a step's batches and begin to copy them; in a thread, for pinning takes a while."""
        # a thread begins on the first GPU, whatever the rank's is; the stream brings it here
        with torch.cuda.stream(self.stream):
            pinned = tree_map_only(Tensor, Tensor.pin_memory, read)
            move = partial(Tensor.to, device=self.device, non_blocking=True)
            moved = tree_map_only(Tensor, move, pinned)
            copied = self.stream.record_event()
        return StepBatch(pinned, moved, bad), copied

    def finish(self, copy: Copy) -> StepBatch:
        """Let the current stream wait for the copy, and keep its memory until it is done."""
        batch, copied = copy
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        for value in tree_leaves(batch.moved):
            if isinstance(value, Tensor):
                value.record_stream(current)
        return batch
