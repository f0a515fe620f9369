"""Multi-head self-attention (Vaswani et al., 2017) of all tokens, or of one of each sample."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# queries, keys and values [B, H, L, d] to [B, H, L, d]: decides which tokens attend to which
AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]
TokenIndex = int | Tensor  # of one token in each sample: the same for all, or int64 [B]


def bidirectional(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every token attends to all tokens."""
    return F.scaled_dot_product_attention(query, key, value)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each token attends to itself and those before it."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def causal_at(index: TokenIndex, length: int, device: torch.device) -> AttentionFunction:
    """Causal attention where the only query is the token at an index of each sample."""
    index = torch.as_tensor(index, device=device).view(-1, 1, 1, 1)
    mask = torch.arange(length, device=device) <= index
    return partial(F.scaled_dot_product_attention, attn_mask=mask)


def select_token(tokens: Tensor, index: TokenIndex) -> Tensor:
    """One token of each sample: [B, L, ...] to [B, 1, ...]."""
    if isinstance(index, int):
        return tokens[:, index:index + 1]
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), index][:, None]


class Attention(nn.Module):
    """Multi-head self-attention, [B, L, D] to [B, L, D]; the number of heads divides D."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool = True,
                 proj_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width, bias=proj_bias)

    def forward(self, x: Tensor, attention: AttentionFunction = bidirectional,
                index: TokenIndex | None = None) -> Tensor:
        """All tokens, or [B, 1, D], the token at an index of each sample: the only query then."""
        query, key, value = (part.view(*part.shape[:2], self.heads, -1)
                             for part in self.qkv(x).chunk(3, dim=2))
        if index is not None:
            query = select_token(query, index)
        mixed = attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output
