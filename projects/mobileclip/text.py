"""MobileCLIP-S0's hybrid text tower: convolutions around a transformer (Vasu et al., 2024, 3.2)."""

from torch import Tensor, nn

from corekit.models.layers.attention import (
    AttentionFunction,
    TokenIndex,
    bidirectional,
    select_token,
)
from corekit.models.layers.layer_scale import LayerScale
from corekit.models.layers.linear import init_weights
from corekit.models.text_tower import TextTransformer

from .blocks import ConvFFN, RepMixer

KERNEL = (1, 11)  # along the tokens


class TextRepMixerBlock(nn.Module):
    """Text-RepMixer (figure 4), a depthwise convolution over 11 tokens, then ConvFFN: [B, L, D]."""

    def __init__(self, width: int, mlp_ratio: float, layer_scale_init: float) -> None:
        super().__init__()
        self.token_mixer = RepMixer(width, KERNEL, scale_branch=False,
                                    layer_scale_init=layer_scale_init)
        self.mlp = ConvFFN(width, int(width * mlp_ratio), KERNEL)
        self.layer_scale = LayerScale(width, layer_scale_init)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, attention: AttentionFunction = bidirectional,
                index: TokenIndex | None = None) -> Tensor:
        """All tokens, or [B, 1, D], the token at an index of each sample; attends to nothing."""
        # [B, D, 1, L], and channels_last as it lies
        x: Tensor = tokens.transpose(1, 2).unsqueeze(2)
        x = self.token_mixer(x)
        update: Tensor = self.mlp(x).squeeze(2).transpose(1, 2)
        # added up as tokens: a layer that is sharded must not return a view
        output = x.squeeze(2).transpose(1, 2) + self.layer_scale.gamma.flatten() * update
        return output if index is None else select_token(output, index)


class HybridTextTransformer(TextTransformer):
    """CLIP's text tower, not causal, between two Text-RepMixer blocks.

    Token ids int64 [B, L] to features [B, embed_dim].

    Args:
        width: of the residual stream; a multiple of the heads.
        layers: transformer blocks, without the two Text-RepMixer blocks.
        context_length: length of the position table; other lengths get it interpolated linearly.
        layer_scale_init: where the residual scales of the Text-RepMixer blocks start.
    """

    def __init__(self, width: int = 512, heads: int = 8, layers: int = 4, embed_dim: int = 512, *,
                 mlp_ratio: float = 4.0, context_length: int = 77, vocab_size: int = 49408,
                 layer_scale_init: float = 1e-5) -> None:
        super().__init__(width, heads, layers, embed_dim, causal=False, mlp_ratio=mlp_ratio,
                         context_length=context_length, vocab_size=vocab_size)
        self.transformer.resblocks.insert(0, TextRepMixerBlock(width, mlp_ratio, layer_scale_init))
        self.transformer.resblocks.append(TextRepMixerBlock(width, mlp_ratio, layer_scale_init))
