"""Atrous spatial pyramid pooling (Chen et al., 2017, DeepLabv3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation


class Pooled(nn.Module):
    """The mean over the map, projected, at every place."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.project = _conv(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.project(F.adaptive_avg_pool2d(x, 1))
        return mean.expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Context of several sizes around every cell: [B, D, h, w] to [B, channels, h, w].

    A 1x1 convolution, a 3x3 one for each dilation, and the mean over the map stand side by side;
    a 1x1 convolution and dropout of whole channels join them. All have batch norm and GELU.
    """

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int],
                 dropout: float = 0.1) -> None:
        super().__init__()
        atrous = [_conv(in_channels, channels, 3, dilation) for dilation in dilations]
        self.branches = nn.ModuleList([_conv(in_channels, channels, 1), *atrous,
                                       Pooled(in_channels, channels)])
        self.project = _conv(len(self.branches) * channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        context = torch.cat([branch(x) for branch in self.branches], 1)
        return self.dropout(self.project(context))  # type: ignore[no-any-return]


def _conv(in_channels: int, channels: int, kernel_size: int,
          dilation: int = 1) -> Conv2dNormActivation:
    return Conv2dNormActivation(in_channels, channels, kernel_size, dilation=dilation,
                                activation_layer=nn.GELU, inplace=None)
