"""Losses of a ``LinearOutput`` that compute their gradients together with their value."""

from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from corekit.errors import CorekitError


def check_block(loss: str, block: int) -> None:
    """Raise a CorekitError for a block that is none."""
    if block < 1:
        raise CorekitError(f"loss '{loss}' needs a block of 1 or more, not {block}")


class Context(Protocol):
    """What torch hands to a function, with what ours keep in it."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]
    dtype: torch.dtype
    grads: tuple[Tensor | None, Tensor | None, Tensor | None]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class GradInForward(torch.autograd.Function):
    """A function of (hidden, weight, bias, ...) whose forward pass computes their gradients.

    They are left in ``ctx.grads``, None where none is wanted, so that no block of logits outlives
    its turn. ``start`` makes room for them.
    """

    @staticmethod
    def start(ctx: Context, hidden: Tensor, weight: Tensor, bias: Tensor | None,
              learning: bool) -> tuple[torch.dtype, Tensor | None, Tensor | None, Tensor | None]:
        """The dtype that gradients are multiplied in, and zeros for those that are wanted.

        ``learning`` says whether gradients are enabled outside; inside a function they never are.
        """
        wide = torch.promote_types(hidden.dtype, torch.float32)
        of_hidden, of_weight, of_bias = (learning and needed for needed in ctx.needs_input_grad[:3])
        ctx.dtype = hidden.dtype
        ctx.grads = (torch.zeros_like(hidden, dtype=wide) if of_hidden else None,
                     torch.zeros_like(weight) if of_weight else None,
                     torch.zeros_like(bias) if bias is not None and of_bias else None)
        # The loss scale, which keeps fp16's small gradients from vanishing, comes only with the
        # backward pass.
        return wide if hidden.dtype == torch.float16 else hidden.dtype, *ctx.grads

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Context, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = (None if grad is None else grad.mul_(outer[0]) for grad in ctx.grads)
        del ctx.grads  # scaled where they lie: a second time would be wrong
        others = [None] * (len(ctx.needs_input_grad) - 3)
        return None if hidden is None else hidden.to(ctx.dtype), weight, bias, *others
