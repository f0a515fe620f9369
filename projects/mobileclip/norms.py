"""One batch norm in place of several over one input and scaled copies of it, in training.

Each is the standardised input times a number a channel, plus another, so their sum is one batch
norm with the sums of those. In every RepMixer that replaces three norms and a 1x1 depthwise
convolution, which costs more than a 3x3 one on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """sign · norm(scale · x), the scale being one number a channel: [C], or None for 1."""

    norm: nn.BatchNorm2d
    scale: Tensor | None = None
    sign: int = 1


def sum_of_norms(x: Tensor, terms: Sequence[Norm]) -> Tensor:
    """The sum of all terms, [B, C, H, W]; each norm's running statistics are updated.

    With mean m, variance v of x's channel: norm(s x) = gamma s (x - m) / sqrt(s² v + eps) + beta.
    """
    first = terms[0].norm
    mean, variance = _statistics(x, first)
    count = x.numel() // x.shape[1]
    biased = variance * ((count - 1) / count)
    biased = _Variance.apply(x, mean, biased)  # type: ignore[no-untyped-call]
    weight, bias = torch.zeros_like(mean), torch.zeros_like(mean)
    for term in terms:
        norm, scale = term.norm, term.scale
        if scale is None and norm.eps == first.eps:
            ratio = torch.ones_like(mean)
        elif scale is None:
            ratio = ((biased + first.eps) / (biased + norm.eps)).sqrt()
        else:
            scale = scale.to(mean.dtype)
            ratio = scale * ((biased + first.eps) / (scale * scale * biased + norm.eps)).sqrt()
        weight = weight + term.sign * norm.weight * ratio
        bias = bias + term.sign * norm.bias
        _track(norm, mean, variance, scale)
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=first.eps)


def in_training(terms: Sequence[Norm]) -> bool:
    """Whether all use their batch's statistics, and keep running ones as torch does by default."""
    norms = [term.norm for term in terms]
    return all(norm.training and norm.track_running_stats and norm.affine
               and norm.momentum is not None for norm in norms)


@torch.no_grad()
def _statistics(x: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of every channel, by the fastest way: torch's batch norm."""
    assert norm.running_mean is not None
    mean, variance = torch.zeros_like(norm.running_mean), torch.ones_like(norm.running_mean)
    F.batch_norm(x, mean, variance, training=True, momentum=1.0)
    return mean, variance


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, scale: Tensor | None) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean if scale is None else scale * mean, norm.momentum)
    norm.running_var.lerp_(variance if scale is None else scale * scale * variance, norm.momentum)


class _Variance(torch.autograd.Function):
    """The variance that is given, with its derivative for x: 2 (x - m) / n."""

    @staticmethod
    def forward(context: Any, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        context.save_for_backward(x, mean)
        return variance.clone()

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, mean = context.saved_tensors
        factor = (grad * (2 / (x.numel() // x.shape[1]))).view(1, -1, 1, 1)
        return ((x - mean.view(1, -1, 1, 1)) * factor).to(x.dtype), None, None
