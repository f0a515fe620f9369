"""Pyramids of features with equally many channels, of an encoder's last map or of its stages."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.layers.norm import NormLayer


class SimplePyramid(nn.Module):
    """The last of an encoder's maps, [B, D, h, w], at several scales (Li et al., 2022, ViTDet).

    Scale 4 is two transposed convolutions, D to D/2 to D/4 channels, with a norm and GELU between
    them; 2 is one, D to D/2; 1 is the map itself; and 1/2 max pooling.

    Args:
        width: D.
        scales: a map's sides over those of the encoder's, largest first.
        norm_layer: over the channels of [B, C, H, W].
    """

    def __init__(self, width: int, scales: Sequence[float], norm_layer: NormLayer) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_level(width, scale, norm_layer) for scale in scales)
        self.widths = tuple(width // int(max(1, scale)) for scale in scales)
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [level(maps[-1]) for level in self.levels]


def _level(width: int, scale: float, norm_layer: NormLayer) -> nn.Module:
    if scale == 4:
        return nn.Sequential(_doubled(width), norm_layer(width // 2), nn.GELU(),
                             _doubled(width // 2))
    if scale == 2:
        return _doubled(width)
    if scale == 1:
        return nn.Identity()
    assert scale == 0.5, scale
    return nn.MaxPool2d(2)


def _doubled(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width // 2, 2, 2)


class NormedConv(nn.Sequential):
    """A convolution with bias and a norm after it."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int,
                 norm_layer: NormLayer, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
        super().__init__(conv, norm_layer(out_channels))


class FeaturePyramid(nn.Module):
    """Maps of any widths to maps of one width, with or without a way from coarse to fine.

    Each map is projected (1x1 and norm). On the way down the coarser output, doubled, is added to
    the next projection before its own 3x3 convolution and norm (Lin et al., 2017, but that the 3x3
    comes before the way down goes on). Without the way down each level stands alone, as in ViTDet.

    Args:
        widths: channels of the maps, finest first.
        channels: of the outputs.
        norm_layer: over the channels of [B, C, H, W].
        top_down: whether there is a way from coarse to fine.
        extra: one more level, at half the coarsest scale: a convolution of stride 2 and a norm;
            every second cell (``pool``); or none.
        bare_top: the coarsest output is its projection, and its 3x3 only feeds the way down.
    """

    def __init__(self, widths: Sequence[int], channels: int, norm_layer: NormLayer, *,
                 top_down: bool = True, extra: str | None = None, bare_top: bool = False) -> None:
        super().__init__()
        self.top_down, self.pool, self.bare_top = top_down, extra == "pool", bare_top
        self.projections = nn.ModuleList(NormedConv(width, channels, 1, norm_layer)
                                         for width in widths)
        self.outputs = nn.ModuleList(NormedConv(channels, channels, 3, norm_layer)
                                     for _ in widths)
        self.extra = NormedConv(channels, channels, 3, norm_layer, 2) if extra == "conv" else None

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        laterals = [project(x) for project, x in zip(self.projections, maps, strict=True)]
        levels: list[Tensor] = []
        for lateral, output in zip(reversed(laterals), reversed(self.outputs)):
            if levels and self.top_down:
                lateral = lateral + F.interpolate(levels[0], lateral.shape[2:])
            levels.insert(0, output(lateral))
        if self.bare_top:
            levels[-1] = laterals[-1]
        if self.extra is not None:
            levels.append(self.extra(levels[-1]))
        elif self.pool:
            levels.append(F.max_pool2d(levels[-1], 1, 2))
        return levels


def level_of(stride: float) -> int:
    """The number of a level by its stride: 2 for about 4, 3 for about 8, and so on."""
    return round(math.log2(stride))
