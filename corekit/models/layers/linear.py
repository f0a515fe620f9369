"""Linear layers in other forms: 1x1 convolutions, layers for inference, and very wide heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.linear_output import LinearOutput
from corekit.models.layers.gelu import gelu_in_place, is_traced

# up to here oneDNN's product is quicker than torch's, 1.0 to 1.4 times, beyond it hardly or slower
FEW_ROWS = 256


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that is computed as a linear layer.

    That is quicker where the channels of a pixel lie side by side.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return pixels.permute(0, 3, 1, 2)


class FusedPointwiseConv2d(PointwiseConv2d):
    """A ``PointwiseConv2d`` with the GELU that follows it."""

    def __init__(self, conv: PointwiseConv2d) -> None:
        self.__dict__.update(conv.__dict__)  # weights, mode and hooks

    def forward(self, x: Tensor) -> Tensor:
        pixels = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return gelu_in_place(pixels).permute(0, 3, 1, 2)


class FusedLinear(nn.Linear):
    """A linear layer for inference, with or without the exact GELU that follows it.

    On a CPU oneDNN multiplies few rows; of many rows the GELU is written over the product.
    """

    def __init__(self, layer: nn.Linear, gelu: bool = False) -> None:
        self.__dict__.update(layer.__dict__)  # weights, mode and hooks
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        if self._is_for_onednn(x):
            activation = "gelu" if self.gelu else "none"
            output: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias,
                                                                activation, [], "none")
            return output
        output = super().forward(x)
        return gelu_in_place(output) if self.gelu else output

    def _is_for_onednn(self, x: Tensor) -> bool:
        """Few rows in fp32, and nothing that traces, differentiates, casts or quantises."""
        if torch.is_grad_enabled() or is_traced():
            return False
        onednn = torch.backends.mkldnn
        return (x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
                and 0 < x.numel() <= FEW_ROWS * self.in_features
                and type(self.weight) is nn.Parameter and not torch.is_autocast_enabled("cpu")
                and onednn.is_available() and bool(onednn.enabled))  # type: ignore


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
