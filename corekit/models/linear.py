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
    if torch.is_grad_enabled() and _onednn(x, weight):
        out: Tensor = _Linear.apply(x, weight, bias)
        return F.gelu(out) if gelu else out
    return _product(x, weight, bias, gelu)


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
    hidden = linear(x, first.weight.flatten(1), first.bias)
    # cast as autocast would, because the function below sees to itself
    made: Tensor = _GeluLinear.apply(hidden, second.weight.flatten(1).to(hidden.dtype), second.bias.to(hidden.dtype))
    return made


class _Linear(torch.autograd.Function):
    """x W^T + b by oneDNN, and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _grads(ctx, grad, *ctx.saved_tensors)


class _GeluLinear(torch.autograd.Function):
    """GELU(x) W^T + b that keeps x and not GELU(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_gelu, *others = _grads(ctx, grad, F.gelu(x), weight)
        return torch.ops.aten.gelu_backward(of_gelu, x) if of_gelu is not None else None, *others


def _grads(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of x W^T + b by x, W and b, as far as they are wanted."""
    rows = grad.flatten(0, -2)
    return (_product(grad, weight.T) if ctx.needs_input_grad[0] else None,
            rows.T @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """x W^T + b, then a GELU if asked for: by oneDNN where it can: quicker than what torch takes for fp32."""
    if _onednn(x, weight):
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
        return made
    out = F.linear(x, weight, bias)
    return F.gelu(out) if gelu else out


def _onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can do it: fp32 on a CPU, and nothing that traces: asked first, as tracing breaks off at the others."""
    return (not torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
            and x.numel() > 0 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore
            and hasattr(torch.ops.mkldnn, "_linear_pointwise") and not torch.is_autocast_enabled("cpu"))
