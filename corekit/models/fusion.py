"""Re-parameterisation: linear branches and their batch norms, folded into one convolution.

In evaluation a batch norm scales and shifts, so parallel branches of convolutions and norms are one
convolution (RepVGG: Ding et al., 2021; MobileOne: Vasu et al., 2023a). A block takes part by having
a method ``folded()`` that returns the module to stand in its place.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.models.layers.linear import FusedLinear


def reparameterize(model: nn.Module) -> nn.Module:
    """A copy of a model with every block folded that can be: the same outputs, fewer operations.

    Done again it changes nothing. Weights of the result load into a model that was folded too
    (built with ``fused=True``, where its constructor has that argument).

    Raises:
        CorekitError: the model is in training mode: what is folded are running statistics.
    """
    if any(module.training for module in model.modules()):
        raise CorekitError("a model in training mode cannot be re-parameterised, because its "
                           "running statistics still change: call model.eval() first")
    return fold(copy.deepcopy(model))


def fold(model: nn.Module) -> nn.Module:
    """Fold in place, in whatever mode the model is; the result stands for the model.

    Plain linear layers become ``FusedLinear``, whose product is quicker for few rows.
    """
    if hasattr(model, "folded"):
        folded: nn.Module = model.folded()  # type: ignore[operator]
        return folded.train(model.training)
    if type(model) is nn.Linear:  # no subclass of it
        return FusedLinear(model)
    for name, child in model.named_children():
        setattr(model, name, fold(child))
    return model


def norm_as_scale(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift of each channel, float64 [C] each."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = exact(norm.weight) / (exact(norm.running_var) + norm.eps).sqrt()
    return scale, exact(norm.bias) - exact(norm.running_mean) * scale


def exact(value: Tensor) -> Tensor:
    """The values in float64, without history; on the CPU where the device has no float64."""
    device = torch.device("cpu") if value.device.type == "mps" else value.device
    return value.detach().to(device, torch.float64)


def diagonal_kernel(scale: Tensor, shape: torch.Size) -> Tensor:
    """The kernel of shape [C, C / groups, kH, kW] that multiplies each channel by its scale [C]."""
    kernel = scale.new_zeros(shape)
    channel = torch.arange(shape[0], device=scale.device)
    kernel[channel, channel % shape[1], shape[2] // 2, shape[3] // 2] = scale
    return kernel


def padded(kernel: Tensor, shape: torch.Size) -> Tensor:
    """A kernel in the middle of a larger one of that shape; sides are odd."""
    height, width = ((large - small) // 2
                     for large, small in zip(shape[2:], kernel.shape[2:], strict=True))
    return F.pad(kernel, (width, width, height, height))


def convolution(like: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution with these weights, and all else as another one has it."""
    assert isinstance(like.padding, tuple)
    with torch.device("meta"):  # memory and random numbers are not needed
        fused = nn.Conv2d(like.in_channels, like.out_channels, (kernel.shape[2], kernel.shape[3]),
                          like.stride[0], (like.padding[0], like.padding[1]), groups=like.groups)
    fused.weight = nn.Parameter(kernel.to(like.weight))
    fused.bias = nn.Parameter(bias.to(like.weight))
    return fused
