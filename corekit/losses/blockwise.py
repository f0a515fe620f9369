"""What losses of a ``LinearOutput`` share that compute their gradients block by block together with
their value.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SlopesAtOnce(torch.autograd.Function):
    """A function of (hidden, weight, bias, ...) whose forward pass leaves their gradients in
    ``ctx.grads``, None where none.

    No block of logits then outlives its turn. ``start`` makes room for them.
    """

    @staticmethod
    def start(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None,
              learning: bool) -> tuple[torch.dtype, Tensor | None, Tensor | None, Tensor | None]:
        """The dtype that grads are multiplied in, and zeros for those that are wanted: of hidden,
        weight and bias.

        ``learning`` is whether gradients are enabled outside: inside a function they never are.
        """
        wide = torch.promote_types(hidden.dtype, torch.float32)
        of_hidden, of_weight, of_bias = (learning and needed for needed in ctx.needs_input_grad[:3])
        ctx.dtype = hidden.dtype
        ctx.grads = (torch.zeros_like(hidden, dtype=wide) if of_hidden else None,
                      torch.zeros_like(weight) if of_weight else None,
                      torch.zeros_like(bias) if bias is not None and of_bias else None)
        # The loss scale that keeps fp16's small grads from vanishing comes only with the backward
        # pass.
        return wide if hidden.dtype == torch.float16 else hidden.dtype, *ctx.grads

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias = (None if each is None else each.mul_(outer[0]) for each in ctx.grads)
        del ctx.grads  # they are scaled where they lie: a second time would be wrong
        return (None if hidden is None else hidden.to(
            ctx.dtype)), weight, bias, *[None] * (len(ctx.needs_input_grad) - 3)
