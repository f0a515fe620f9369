"""The text tower of CLIP (Radford et al., 2021, section 2.4)."""

import re
from collections.abc import Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.layers.attention import (
    Attention,
    AttentionFunction,
    TokenIndex,
    bidirectional,
    causal,
    causal_at,
)
from corekit.models.layers.block import Block
from corekit.models.layers.mlp import MLP

OPEN_CLIP = {  # parts of a block -> their names in open_clip
    "norm1.": "ln_1.", "attn.qkv.": "attn.in_proj_", "attn.proj.": "attn.out_proj.",
    "norm2.": "ln_2.", "mlp.fc1.": "mlp.c_fc.", "mlp.fc2.": "mlp.c_proj.",
}
PART_OF_BLOCK = re.compile(
    rf"((?:.*\b)?resblocks\.\d+\.)({'|'.join(map(re.escape, OPEN_CLIP))})(.*)")


class Transformer(nn.Module):
    """Blocks one after the other, [B, L, D] to [B, L, D].

    Weights start as in CLIP: normal with std D^-½ (attention in), (2D)^-½ (feed-forward in), and
    D^-½ · (2·layers)^-½ where a branch ends, so that the residual stream keeps its size at any
    depth. Biases start at 0. Weights under open_clip's names are loaded too.
    """

    def __init__(self, width: int, layers: int, heads: int, mlp_ratio: float = 4.0, *,
                 causal: bool, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.causal = causal
        blocks = [_block(width, heads, int(width * mlp_ratio), norm_eps) for _ in range(layers)]
        for block in blocks:
            for last in (block.attn.proj, block.mlp.fc2):
                nn.init.normal_(last.weight, std=(2 * layers * width) ** -0.5)
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, index: TokenIndex | None = None) -> Tensor:
        """All tokens, or [B, 1, D], the token at an index of each sample.

        The last block then computes no other.
        """
        attention: AttentionFunction = causal if self.causal else bidirectional
        *others, last = self.resblocks
        for block in others:
            x = block(x, attention)
        if self.causal and index is not None:
            attention = causal_at(index, x.shape[1], x.device)
        return last(x, attention, index)  # type: ignore[no-any-return]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str,
                              *args: object) -> None:
        names = open_clip_names(name for name, _ in self.named_parameters())
        for name, open_clip_name in names.items():
            if prefix + open_clip_name in state_dict:
                state_dict[prefix + name] = state_dict.pop(prefix + open_clip_name)
        super()._load_from_state_dict(state_dict, prefix, *args)


class TextTransformer(nn.Module):
    """CLIP's text tower: token ids int64 [B, L] to features [B, embed_dim].

    The feature is that of the end-of-text token, which has the highest id of the vocabulary.
    Padding is not masked: towers with ``causal=False`` see it, as published weights were trained.

    Args:
        width, heads, layers: D, attention heads, which divide D, and transformer blocks.
        causal: each token sees itself and those before it.
        mlp_ratio: hidden width of the feed-forward parts over D.
        context_length: length of the position table; other lengths get it interpolated linearly.
        norm_eps: epsilon of every layer norm.
    """

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 12, embed_dim: int = 512, *,
                 causal: bool, mlp_ratio: float = 4.0, context_length: int = 77,
                 vocab_size: int = 49408, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.transformer = Transformer(width, layers, heads, mlp_ratio, causal=causal,
                                       norm_eps=norm_eps)
        self.ln_final = nn.LayerNorm(width, eps=norm_eps)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, text: Tensor) -> Tensor:
        x = self.token_embedding(text) + self.positions(text.shape[1])
        last = self.transformer(x, text.argmax(dim=-1))[:, 0]
        pooled: Tensor = self.ln_final(last)
        return pooled @ self.text_projection

    def positions(self, length: int) -> Tensor:
        """The position table, [length, D]."""
        table = self.positional_embedding
        if length == table.shape[0]:
            return table
        return F.interpolate(table.T[None], size=length, mode="linear")[0].T


def open_clip_names(names: Iterable[str]) -> dict[str, str]:
    """Names of parameters -> open_clip's, where it has others for the parts of a text tower.

    Files that corekit wrote before it had one family of blocks have open_clip's names.
    """
    matches = [match for name in names if (match := PART_OF_BLOCK.fullmatch(name))]
    blocks = {match[1] for match in matches if match[2] + match[3] == "attn.qkv.weight"}
    return {match[0]: match[1] + OPEN_CLIP[match[2]] + match[3] for match in matches
            if match[1] in blocks}


def _block(width: int, heads: int, hidden: int, norm_eps: float) -> Block:
    with torch.random.fork_rng(devices=[]):  # what is drawn here is not used
        attn = Attention(width, heads)
    attn.proj.reset_parameters()
    nn.init.normal_(attn.qkv.weight, std=width**-0.5)
    mlp = MLP(width, hidden)
    nn.init.normal_(mlp.fc1.weight, std=(2 * width) ** -0.5)
    for layer in (attn.qkv, attn.proj, mlp.fc1, mlp.fc2):
        nn.init.zeros_(layer.bias)
    return Block(width, attn, mlp, partial(nn.LayerNorm, eps=norm_eps))
