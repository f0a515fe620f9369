"""Running statistics of normalisation layers, updated once a step with the mean over its
micro-batches.
"""

import torch
from torch import Tensor, nn

from corekit.distributed.process_group import ProcessGroup


class RunningStatistics:
    """Holds the statistics still during a step, then sets them to the mean update of its
    micro-batches, or leaves them.

    A layer's update is linear in the statistics it starts from, so the mean over micro-batches of
    the updated statistics is the update by the mean: the order of micro-batches and who computes
    them change nothing. """

    def __init__(self, model: nn.Module) -> None:
        layers = [
            layer for layer in model.modules() if getattr(layer, "track_running_stats", False)
        ]
        self.buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        self.before = [buffer.clone() for buffer in self.buffers]
        self.after: list[Tensor] = []
        self.count = 0

    @torch.no_grad()
    def begin(self) -> None:
        """Start a step."""
        _copy(self.buffers, self.before)
        self.after = []
        self.count = 0

    @torch.no_grad()
    def collect(self, first_time: bool) -> None:
        """After a micro-batch, where a step has several: note its update if it is seen for the
        first time, and take it back.
        """
        if first_time:
            self.after = self.after or [torch.zeros_like(buffer) for buffer in self.buffers]
            for buffer, after in zip(self.buffers, self.after):
                after += buffer
            self.count += 1
        _copy(self.before, self.buffers)

    @torch.no_grad()
    def commit(self) -> None:
        """End of a step that counts: the mean of the noted updates, or the only one."""
        for buffer, after in zip(self.buffers, self.after):
            buffer.copy_(after // self.count if not buffer.is_floating_point() else after /
                         self.count)

    @torch.no_grad()
    def discard(self) -> None:
        """End of a step that does not count."""
        _copy(self.before, self.buffers)

    @torch.no_grad()
    def average(self, ranks: ProcessGroup) -> None:
        """The mean over ranks, before an evaluation or a save."""
        floating = [buffer for buffer in self.buffers if buffer.is_floating_point()]
        if ranks.world == 1 or not floating:
            return
        flat = ranks.sum(torch.cat([buffer.flatten() for buffer in floating])) / ranks.world
        for buffer, piece in zip(floating, torch.split(flat,
                                                       [buffer.numel() for buffer in floating])):
            buffer.copy_(piece.view_as(buffer))


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)
