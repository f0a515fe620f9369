"""Layer scale (Touvron et al., 2021)."""

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """A residual sum whose update is scaled channel by channel: x + gamma · update, [B, C, H, W]."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), init))

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return torch.addcmul(x, self.gamma, update)
