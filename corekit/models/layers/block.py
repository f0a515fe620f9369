"""The pre-norm transformer block."""

from torch import Tensor, nn

from corekit.models.layers.attention import (
    Attention,
    AttentionFunction,
    TokenIndex,
    bidirectional,
    select_token,
)
from corekit.models.layers.drop_path import DropPath
from corekit.models.layers.mlp import MLP, SwiGLU
from corekit.models.layers.norm import NormLayer


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), for tokens x of [B, L, D]."""

    def __init__(self, width: int, attn: Attention, mlp: MLP | SwiGLU,
                 norm_layer: NormLayer = nn.LayerNorm, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = norm_layer(width)
        self.attn = attn
        self.norm2 = norm_layer(width)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, attention: AttentionFunction = bidirectional,
                index: TokenIndex | None = None) -> Tensor:
        """All tokens, or [B, 1, D], the token at an index of each sample: no other is computed."""
        residual = x if index is None else select_token(x, index)
        x = residual + self.drop_path(self.attn(self.norm1(x), attention, index))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x
