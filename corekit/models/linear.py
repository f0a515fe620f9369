"""Linear layers with a GELU before or after them, in fewer passes over memory; values and gradients are the plain form's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """x W^T + b over the last dimension, then a GELU if asked for: [..., I] to [..., O].

    Args:
        x: [..., I].
        weight: [O, I].
        bias: [O], or None.
        gelu: whether the exact GELU (Hendrycks and Gimpel, 2016) follows.
    """
    if _one_operation(x, weight):
        # oneDNN's product is quicker than the one that torch takes for fp32, and the GELU is done while the output is in cache
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
        return made
    out = F.linear(x, weight, bias)
    return F.gelu(out) if gelu else out


def feed_forward(x: Tensor, first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d) -> Tensor:
    """Two linear layers with a GELU between them over the last dimension: [..., I] to [..., O].

    The backward pass computes the GELU again: of the two widest tensors of a block only one is kept.

    Args:
        x: [..., I].
        first, second: layers with a bias, I to H and H to O; 1x1 convolutions are linear layers too.
    """
    if not torch.is_grad_enabled():
        return linear(linear(x, first.weight.flatten(1), first.bias, gelu=True), second.weight.flatten(1), second.bias)
    assert second.bias is not None
    hidden = F.linear(x, first.weight.flatten(1), first.bias)
    # cast as autocast would, because the function below sees to itself
    made: Tensor = _GeluLinear.apply(hidden, second.weight.flatten(1).to(hidden.dtype), second.bias.to(hidden.dtype))
    return made


class _GeluLinear(torch.autograd.Function):
    """GELU(x) W^T + b that keeps x and not GELU(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = slope.flatten(0, -2)
        of_weight = rows.T @ F.gelu(x).flatten(0, -2) if ctx.needs_input_grad[1] else None
        of_x = torch.ops.aten.gelu_backward(slope @ weight, x) if ctx.needs_input_grad[0] else None
        return of_x, of_weight, rows.sum(0) if ctx.needs_input_grad[2] else None


def _one_operation(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can do it: fp32 on a CPU, with no gradient wanted and nothing that traces."""
    return (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.is_grad_enabled()
            and x.numel() > 0 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore
            and hasattr(torch.ops.mkldnn, "_linear_pointwise") and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling())
