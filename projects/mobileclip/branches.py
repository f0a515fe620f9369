"""Convolutions with a norm, and their sum as one (MobileOne: Vasu et al., 2023a, figure 3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.fusion import convolution, diagonal_kernel, exact, norm_as_scale, padded


class SubsampledConv2d(nn.Conv2d):
    """A strided 1x1 convolution that picks its pixels, by pooling, before it multiplies them.

    torch 2.15's own writes past its memory on a CPU where images are channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight, groups=self.groups)


class ConvNorm(nn.Module):
    """A convolution without bias and its batch norm; padding keeps H and W at stride 1."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int],
                 stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        layer = SubsampledConv2d if kernel_size == (1, 1) and stride > 1 else nn.Conv2d
        self.conv = layer(in_channels, out_channels, kernel_size, stride, padding, groups=groups,
                          bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out

    def folded(self) -> nn.Conv2d:
        """The convolution with a bias that both come to."""
        return convolution(self.conv, *merge([self], self.conv.weight.shape))


class SqueezeExcite(nn.Module):
    """Channel gates from the image's mean (Hu et al., 2018); ``ratio`` is hidden width over C."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        gate: Tensor = self.fc2(self.fc1(mean).relu()).sigmoid()
        return x * gate


class FusedConv(nn.Module):
    """A folded block, named as in timm: one convolution, then squeeze-excite and activation."""

    def __init__(self, reparam_conv: nn.Conv2d, se: nn.Module | None = None,
                 act: nn.Module | None = None) -> None:
        super().__init__()
        self.reparam_conv, self.se, self.act = reparam_conv, se, act

    def forward(self, x: Tensor) -> Tensor:
        x = self.reparam_conv(x)
        if self.se is not None:
            x = self.se(x)
        return x if self.act is None else self.act(x)


def merge(branches: Sequence[ConvNorm | nn.BatchNorm2d],
          shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The sum of branches: one kernel [C, C_in / groups, kH, kW] and one bias [C], float64."""
    kernels, biases = [], []
    for branch in branches:
        scale, shift = norm_as_scale(branch if isinstance(branch, nn.BatchNorm2d) else branch.bn)
        kernels.append(diagonal_kernel(scale, shape) if isinstance(branch, nn.BatchNorm2d)
                       else padded(exact(branch.conv.weight) * scale[:, None, None, None], shape))
        biases.append(shift)
    return torch.stack(kernels).sum(0), torch.stack(biases).sum(0)
