"""The pre-norm transformer and the text tower of CLIP (Radford et al., 2021, section 2.4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.linear import after_gelu

Place = int | Tensor  # of one token in each sample: the same one, or int64 [B]


def pick(tokens: Tensor, at: Place) -> Tensor:
    """One token of each sample: [B, L, D] to [B, 1, D]."""
    if isinstance(at, int):
        return tokens[:, at:at + 1]
    return tokens[torch.arange(tokens.shape[0], device=tokens.device), at][:, None]


def attend(projected: Tensor, heads: int, causal: bool = False, at: Place | None = None) -> Tensor:
    """Multi-head self-attention (Vaswani et al., 2017, equation 1) of queries, keys and values side by side, [B, L, 3 D]."""
    query, key, value = (part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in projected.chunk(3, dim=2))
    if at is None:
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    else:
        query = pick(query.transpose(1, 2), at).transpose(1, 2)
        seen = torch.arange(key.shape[2], device=key.device) <= torch.as_tensor(at, device=key.device).view(-1, 1, 1, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen if causal else None)
    return mixed.transpose(1, 2).flatten(2)


def drop_path(update: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al., 2016): leaves out a residual branch for some samples, scales the others up.

    Args:
        update: [B, ...], what a residual branch adds.
        rate: probability that a sample goes without, in [0, 1).
        training: outside training the update is returned as it is.
    """
    if rate == 0.0 or not training:
        return update
    kept = update.new_empty((update.shape[0],) + (1,) * (update.ndim - 1)).bernoulli_(1 - rate)
    return update * kept.div_(1 - rate)


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """The rate of each block: growing linearly from 0 at the first block to ``rate`` at the last."""
    return [rate * index / max(blocks - 1, 1) for index in range(blocks)]


class SelfAttention(nn.Module):
    """Multi-head self-attention over [B, L, D]; parameters are named as ``nn.MultiheadAttention`` names them."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        return self.out_proj(attend(F.linear(x, self.in_proj_weight, self.in_proj_bias), self.heads, self.causal, at))  # type: ignore


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)
        nn.init.normal_(self.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.zeros_(self.c_fc.bias)
        nn.init.zeros_(self.c_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        return after_gelu(self.c_proj, self.c_fc(x))


class TransformerBlock(nn.Module):
    """A pre-norm block: x + attention(norm(x)), then x + feed-forward(norm(x)), for x of [B, L, D].

    Args:
        width: D.
        heads: attention heads; divides the width.
        mlp_ratio: hidden width of the feed-forward part over D.
        causal: each token sees itself and those before it.
        norm_eps: epsilon of both layer norms.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0, *, causal: bool, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads, causal)
        self.ln_2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = FeedForward(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        x = (x if at is None else pick(x, at)) + self.attn(self.ln_1(x), at)
        x = x + self.mlp(self.ln_2(x))
        return x


class Transformer(nn.Module):
    """Blocks one after the other, [B, L, D] to [B, L, D].

    Weights start as in CLIP: normal with std D^-½ (attention in), (2D)^-½ (feed-forward in), and, so that the residual
    stream keeps its size whatever the depth, D^-½ · (2·layers)^-½ where a branch ends. Biases start at 0.
    """

    def __init__(self, width: int, layers: int, heads: int, mlp_ratio: float = 4.0, *, causal: bool,
                 norm_eps: float = 1e-5) -> None:
        super().__init__()
        blocks = [TransformerBlock(width, heads, mlp_ratio, causal=causal, norm_eps=norm_eps) for _ in range(layers)]
        for block in blocks:
            for last in (block.attn.out_proj, block.mlp.c_proj):
                nn.init.normal_(last.weight, std=(2 * layers * width) ** -0.5)
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, at: Place | None = None) -> Tensor:
        """All tokens, or [B, 1, D], those ``at`` a place of each sample: the last block then computes no others."""
        *others, last = self.resblocks
        for block in others:
            x = block(x)
        if at is None:
            return last(x)  # type: ignore[no-any-return]
        return last(x, at) if isinstance(last, TransformerBlock) else pick(last(x), at)


class TextTransformer(nn.Module):
    """CLIP's text tower: token ids int64 [B, L] to features [B, embed_dim].

    The feature is that of the end-of-text token, which has the highest id of the vocabulary. Padding is not masked:
    towers with ``causal=False`` see it, and published weights were trained so. Parameters are named as in open_clip.

    Args:
        width: D, the width of the residual stream.
        heads: attention heads; divides the width.
        layers: transformer blocks.
        embed_dim: width of the features.
        causal: each token sees itself and those before it.
        mlp_ratio: hidden width of the feed-forward parts over D.
        context_length: length of the position table; other lengths get it interpolated linearly.
        vocab_size: number of token ids.
        norm_eps: epsilon of every layer norm.
    """

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 12, embed_dim: int = 512, *, causal: bool,
                 mlp_ratio: float = 4.0, context_length: int = 77, vocab_size: int = 49408,
                 norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads, mlp_ratio, causal=causal, norm_eps=norm_eps)
        self.ln_final = nn.LayerNorm(width, eps=norm_eps)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, text: Tensor) -> Tensor:
        x = self.token_embedding(text) + self.positions(text.shape[1])
        pooled: Tensor = self.ln_final(self.transformer(x, at=text.argmax(dim=-1))[:, 0])
        return pooled @ self.text_projection

    def positions(self, length: int) -> Tensor:
        """The position table, [length, D]."""
        table = self.positional_embedding
        if length == table.shape[0]:
            return table
        return F.interpolate(table.T[None], size=length, mode="linear")[0].T
