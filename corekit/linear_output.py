"""The output of a linear head as its two factors, where it is too wide to be held."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearOutput(NamedTuple):
    """The output [B, K] of a linear layer, not computed yet.

    Losses evaluate it in blocks of classes, in the dtype of ``hidden``; ``dense`` makes a tensor of
    it. It is a tuple of tensors, so that data parallelism, sharding and compilation find them in a
    model's outputs.
    """

    hidden: Tensor  # [..., D], the layer's input, in autocast's dtype if the layer runs in it
    weight: Tensor  # [K, D], in the dtype of the parameter
    bias: Tensor | None  # [K]

    @classmethod
    def of(cls, hidden: Tensor, head: nn.Linear) -> "LinearOutput":
        """The output of ``head(hidden)``, precision included."""
        kind = hidden.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            hidden = hidden.to(torch.get_autocast_dtype(kind))
        bias = None if head.bias is None else _Alias.apply(head.bias)
        return cls(hidden, _Alias.apply(head.weight), bias)

    @property
    def classes(self) -> int:
        """K."""
        return self.weight.shape[0]

    def block(self, first: int, last: int) -> "LinearOutput":
        """The output for the classes from ``first`` up to ``last``."""
        bias = None if self.bias is None else self.bias[first:last]
        return LinearOutput(self.hidden, self.weight[first:last], bias)

    def __add__(self, other: Tensor) -> Tensor:  # type: ignore[override]
        """The output plus a tensor, as adapters add theirs to what a layer gives."""
        return self.dense() + other

    def dense(self) -> Tensor:
        """[..., K] in the dtype of ``hidden``."""
        bias = None if self.bias is None else self.bias.to(self.hidden.dtype)
        return F.linear(self.hidden, self.weight.to(self.hidden.dtype), bias)


def dense(logits: Tensor | LinearOutput) -> Tensor:
    """Logits as a tensor, whichever of the two a model gives."""
    return logits.dense() if isinstance(logits, LinearOutput) else logits


def num_classes(logits: Tensor | LinearOutput) -> int:
    """K of logits [..., K]."""
    return logits.classes if isinstance(logits, LinearOutput) else logits.shape[-1]


def select(logits: Tensor | LinearOutput, rows: Tensor) -> Tensor | LinearOutput:
    """The logits at places that are set in a bool mask of the leading dimensions: [n, K]."""
    if isinstance(logits, LinearOutput):
        return logits._replace(hidden=logits.hidden[rows])
    return logits[rows]


class _Alias(torch.autograd.Function):
    """The same numbers as a tensor of its own.

    FSDP2 hooks every tensor that a forward pass returns. On a parameter, which lives on, the hooks
    of all steps would pile up; and it warns of views.
    """

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.detach()

    @staticmethod
    def backward(ctx: object, *outer: Tensor) -> Tensor:
        return outer[0]
