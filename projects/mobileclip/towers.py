"""Towers of the variants (Vasu et al., 2024, table 1 and appendix; Faghri et al., 2025)."""

from torch import nn

from corekit.errors import CorekitError
from corekit.models.clip import CLIP, ImageEncoder
from corekit.models.fusion import fold
from corekit.models.layers.patch_embed import PatchEmbed
from corekit.models.text_tower import TextTransformer
from corekit.models.vit import ViT

from .mci import MCi
from .text import HybridTextTransformer

MCI = (  # depths and widths of the stages of MCi0 to MCi4
    ((2, 6, 10, 2), (64, 128, 256, 512)),
    ((4, 12, 20, 4), (64, 128, 256, 512)),
    ((4, 12, 24, 4), (80, 160, 320, 640)),
    ((2, 12, 24, 4, 2), (96, 192, 384, 768, 1536)),
    ((2, 12, 24, 4, 4), (128, 256, 512, 1024, 2048)),
)
HEAD_WIDTH = 64  # of the transformers


def mci(number: int, embed_dim: int, head_bias: bool, drop_path_rate: float,
        layer_scale_init: float, width_divisor: int, depth_divisor: int) -> MCi:
    """MCi0 to MCi4.

    From 3 on there are five stages and layer norm, but no squeeze-excite between stages and no
    scale branch in the stem.
    """
    depths, widths = MCI[number]
    five = len(depths) == 5
    return MCi([max(1, depth // depth_divisor) for depth in depths],
               [width // width_divisor for width in widths], embed_dim,
               attention_stages=2 if five else 1,
               squeeze_excite=(False,) * 5 if five else (False, False, True, True),
               mlp_ratio=4.0 if five else 3.0, layer_norm=five, stem_scale_branch=not five,
               head_bias=head_bias, drop_path_rate=drop_path_rate,
               layer_scale_init=layer_scale_init)


def vit_large(embed_dim: int, image_size: int, norm_eps: float, head_bias: bool,
              drop_path_rate: float, width_divisor: int, depth_divisor: int) -> ViT:
    """CLIP's ViT-L/14, with GELU (timm's ``vit_large_patch14_clip_224``)."""
    width = 1024 // width_divisor
    return ViT(PatchEmbed(width, patch_size=14, bias=False), image_size // 14, width,
               layers=max(1, 24 // depth_divisor), heads=max(1, 16 // width_divisor),
               embed_dim=embed_dim, norm_pre=True, norm_eps=norm_eps, head_bias=head_bias,
               drop_path_rate=drop_path_rate)


def text(kind: str | None, width: int, embed_dim: int, causal: bool, context_length: int,
         vocab_size: int, layer_scale_init: float, width_divisor: int,
         depth_divisor: int) -> TextTransformer | None:
    """The plain text tower, the hybrid one, or none.

    Plain has 12 transformer blocks; hybrid has 4 and two Text-RepMixer blocks.

    Raises:
        CorekitError: a causal hybrid tower: its convolutions see what comes after a token.
    """
    if kind is None:
        return None
    width, heads = width // width_divisor, max(1, width // HEAD_WIDTH // width_divisor)
    if kind == "plain":
        return TextTransformer(width, heads, layers=max(1, 12 // depth_divisor),
                               embed_dim=embed_dim, causal=causal, context_length=context_length,
                               vocab_size=vocab_size)
    if causal:
        raise CorekitError("model.text_tower=hybrid sees 5 tokens ahead and cannot be causal: set "
                           "model.causal=false")
    return HybridTextTransformer(width, heads, layers=max(1, 4 // depth_divisor),
                                 embed_dim=embed_dim, context_length=context_length,
                                 vocab_size=vocab_size, layer_scale_init=layer_scale_init)


def assemble(image_tower: nn.Module, text_tower: nn.Module | None, fused: bool) -> nn.Module:
    """The model of both towers, or of images alone; folded if asked for."""
    model = ImageEncoder(image_tower) if text_tower is None else CLIP(image_tower, text_tower)
    return fold(model) if fused else model
