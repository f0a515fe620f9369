"""From an encoder's tokens to a language model's: the connector."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from corekit.errors import CorekitError

ConnectorKind = Literal["mlp", "linear"]


class Connector(nn.Module):
    """Tokens [B, N, D] of a square of patches to [B, N / shuffle², width].

    ``mlp`` is two linear layers with a GELU between them (Liu et al., 2023); ``linear`` is one.
    With ``shuffle`` above 1 the tokens of a square of shuffle x shuffle patches stand side by side
    first and become one (pixel shuffle; Shi et al., 2016).

    Raises:
        CorekitError: the patches are no square that ``shuffle`` divides.
    """

    def __init__(self, encoder_width: int, width: int, kind: ConnectorKind = "mlp",
                 shuffle: int = 1) -> None:
        super().__init__()
        self.shuffle, self.kind = shuffle, kind
        self.linear_1 = nn.Linear(encoder_width * shuffle**2, width)
        self.linear_2 = nn.Linear(width, width) if kind == "mlp" else None

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.linear_1(self._shuffled(tokens))
        if self.linear_2 is not None:
            x = self.linear_2(F.gelu(x))
        return x

    def _shuffled(self, tokens: Tensor) -> Tensor:
        if self.shuffle == 1:
            return tokens
        batch, count, width = tokens.shape
        side, factor = round(count**0.5), self.shuffle
        if side**2 != count or side % factor:
            raise CorekitError(f"model.shuffle={factor} does not divide the encoder's {count} "
                               "tokens into squares: it must divide the side of their grid")
        cells = tokens.view(batch, side // factor, factor, side // factor, factor, width)
        return cells.transpose(2, 3).reshape(batch, count // factor**2, factor**2 * width)
