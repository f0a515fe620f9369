"""What a linear head gives where its output is too wide to be held: the two factors of it."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearOutput(NamedTuple):
    """The output [B, K] of a linear layer, not computed yet.

    Losses evaluate it in blocks of classes, in the dtype of ``hidden``; ``dense`` gives it as a
    tensor. It is a tuple of tensors, so that data parallelism, sharding and compilation find them
    in a model's outputs.

    Args:
        hidden: [..., D], what the layer is given; in autocast's dtype where the layer was to run in
            it.
        weight: [K, D], in the dtype the parameter is kept in.
        bias: [K].
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, hidden: Tensor, head: nn.Linear) -> "LinearOutput":
        """What ``head(hidden)`` would give, precision included."""
        kind = hidden.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            hidden = hidden.to(torch.get_autocast_dtype(kind))
        return cls(hidden, _alias(head.weight), None if head.bias is None else _alias(head.bias))

    @property
    def classes(self) -> int:
        """K."""
        return self.weight.shape[0]

    def block(self, first: int, last: int) -> "LinearOutput":
        """The output for the classes from ``first`` up to ``last``."""
        return LinearOutput(self.hidden, self.weight[first:last],
                            None if self.bias is None else self.bias[first:last])

    def dense(self) -> Tensor:
        """[..., K] in the dtype of ``hidden``."""
        bias = None if self.bias is None else self.bias.to(self.hidden.dtype)
        return F.linear(self.hidden, self.weight.to(self.hidden.dtype), bias)


def dense(logits: Tensor | LinearOutput) -> Tensor:
    """Logits as a tensor, whichever of the two a model gives."""
    return logits.dense() if isinstance(logits, LinearOutput) else logits


class _Alias(torch.autograd.Function):
    """The same numbers as a tensor of its own.

    FSDP2 hooks every tensor that a forward pass returns. On a parameter, which lives on, the hooks
    of all steps would pile up; and it warns of views. """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        return outer[0]


def _alias(value: Tensor) -> Tensor:
    found: Tensor = _Alias.apply(value)
    return found
