"""An exponential moving average of a model's weights."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from corekit.distributed.fsdp import local


class Ema:
    """The average after each step: ``average = decay * average + (1 - decay) * model``.

    It starts at the model. Floating-point parameters and buffers are averaged, others copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        named, in_state = [*model.named_parameters(), *model.named_buffers()], model.state_dict()
        live = {name: value.detach() for name, value in named if name in in_state}
        self.values = {name: value.clone() for name, value in live.items()}
        pairs = [(local(value), local(live[name])) for name, value in self.values.items()]
        self.averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self.copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Once after every optimizer step."""
        averages, values = [list(column) for column in zip(*self.averaged)]
        torch._foreach_lerp_(averages, values, 1 - self.decay)
        for average, value in self.copied:
            average.copy_(value)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in values.items():
            local(self.values[name]).copy_(local(value))

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """The model has the averaged weights while this lasts, and the trained ones lie here."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, value in [*self.averaged, *self.copied]:
            average_before = average.clone()
            average.copy_(value)
            value.copy_(average_before)
