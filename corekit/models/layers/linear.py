"""Linear layers in other forms: 1x1 convolutions, and heads whose output is not computed."""

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.linear_output import LinearOutput


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that is computed as a linear layer.

    That is quicker where the channels of a pixel lie side by side.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return pixels.permute(0, 3, 1, 2)


class LinearHead(nn.Linear):
    """A linear layer whose output is too wide to be held: it gives a ``LinearOutput``."""

    def forward(self, hidden: Tensor) -> LinearOutput:  # type: ignore[override]
        return LinearOutput.of(hidden, self)


def init_weights(module: nn.Module) -> None:
    """Start a convolution or linear layer: weights normal with std 0.02 cut at ±2, biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
