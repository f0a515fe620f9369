"""An exponential moving average of a model's weights."""

import copy

import torch
from torch import nn


class Ema:
    """The average after each step: ``average = decay * average + (1 - decay) * model``.

    Floating-point parameters and buffers are averaged; whole-number buffers are copied.

    Args:
        model: whose weights are followed; the average starts at them.
        decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        pairs = list(zip(self._tensors(self.model), self._tensors(model), strict=True))
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @staticmethod
    def _tensors(model: nn.Module) -> list[torch.Tensor]:
        return [*model.parameters(), *model.buffers()]

    @torch.no_grad()
    def update(self) -> None:
        """Once after every optimizer step."""
        averages, values = [list(column) for column in zip(*self.averaged)]
        torch._foreach_lerp_(averages, values, 1 - self.decay)
        for mine, theirs in self.copied:
            mine.copy_(theirs)
