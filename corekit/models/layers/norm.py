"""Norms that torch does not have."""

from collections.abc import Callable

from torch import Tensor, nn

NormLayer = Callable[[int], nn.Module]  # makes a norm of so many channels


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
