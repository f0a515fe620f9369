"""Running statistics of batch norms, updated once a step by the mean over its micro-batches."""

import torch
from torch import Tensor, nn

from corekit.distributed.process_group import ProcessGroup


def normalises_by_statistics(layer: nn.Module) -> bool:
    """Whether a layer keeps running statistics, as batch norm does."""
    return bool(getattr(layer, "track_running_stats", False))


class RunningStatistics:
    """Holds the statistics during a step, then sets them to the mean update of its micro-batches.

    A layer's update is linear in the statistics it starts from, so the mean over micro-batches of
    the updated statistics is the update by the mean: the order of micro-batches and who computes
    them change nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = filter(normalises_by_statistics, model.modules())
        self.buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.sums: list[Tensor] = []  # of the updated statistics of several micro-batches
        self.micro_batches, self.collected = 1, 0

    @torch.no_grad()
    def begin(self, micro_batches: int = 1) -> None:
        """Start a step of that many micro-batches on this rank."""
        _copy(self.buffers, self.before)
        self.sums = [torch.zeros_like(buffer) for buffer in self.buffers if micro_batches > 1]
        self.micro_batches, self.collected = micro_batches, 0

    @torch.no_grad()
    def collect(self) -> None:
        """After a pass of a micro-batch: note its update the first time round, and take it back.

        The update of a step's only micro-batch stays.
        """
        if self.micro_batches == 1:
            return
        if self.collected < self.micro_batches:
            for buffer, total in zip(self.buffers, self.sums):
                total += buffer
            self.collected += 1
        _copy(self.before, self.buffers)

    @torch.no_grad()
    def commit(self) -> None:
        """End of a step that counts: the mean of the noted updates, or the only one."""
        for buffer, total in zip(self.buffers, self.sums):
            mean = total / self.micro_batches
            buffer.copy_(mean if buffer.is_floating_point() else total // self.micro_batches)

    @torch.no_grad()
    def discard(self) -> None:
        """End of a step that does not count."""
        _copy(self.before, self.buffers)

    @torch.no_grad()
    def average(self, group: ProcessGroup) -> None:
        """The mean over ranks, before an evaluation or a save."""
        floating = [buffer for buffer in self.buffers if buffer.is_floating_point()]
        if group.world == 1 or not floating:
            return
        flat = group.sum(torch.cat([buffer.flatten() for buffer in floating])) / group.world
        pieces = torch.split(flat, [buffer.numel() for buffer in floating])
        for buffer, piece in zip(floating, pieces):
            buffer.copy_(piece.view_as(buffer))


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)
