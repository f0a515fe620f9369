"""The feed-forward parts of transformer blocks."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.fusion import fold
from corekit.models.layers.gelu import after_gelu
from corekit.models.layers.linear import FusedLinear


class MLP(nn.Module):
    """Two linear layers, D to ``hidden`` to D, with a GELU between them: [..., D] to [..., D]."""

    def __init__(self, width: int, hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return after_gelu(self.fc2, self.fc1(x))

    def folded(self) -> nn.Module:
        """The same for inference: the GELU is part of the first layer."""
        if type(self.fc1) is not nn.Linear:
            return self
        return nn.Sequential(OrderedDict(fc1=FusedLinear(self.fc1, gelu=True), fc2=fold(self.fc2)))


class SwiGLU(nn.Module):
    """The gated form (Shazeer, 2020): W2 (silu(Wg x) * Wx x), [..., D] to [..., D]."""

    def __init__(self, width: int, hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(width, hidden, bias=bias)
        self.fc1_x = nn.Linear(width, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(F.silu(self.fc1_g(x)) * self.fc1_x(x))
        return output
