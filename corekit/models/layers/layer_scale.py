"""Layer scale (Touvron et al., 2021)."""

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """A residual sum of [B, C, H, W] with a scale for each channel: x + gamma · update."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), init))

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return torch.addcmul(x, self.gamma, update)
