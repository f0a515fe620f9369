"""CatLIP's models (Mehta et al., 2024), with patches of 16 pixels, and the CLIP beside them.

Sizes are those of CoreNet.
"""

from typing import Literal

from torch import nn

from corekit.models.clip import CLIP
from corekit.models.conv_stem import ConvStem
from corekit.models.text_tower import TextTransformer
from corekit.models.vit import ViT
from corekit.registry import register

from .vit import NORM_EPS, CatLIP

VOCABULARY = 24320  # synsets that pre-training on DataComp-1.3B tells apart
NANO_WIDTH, NANO_LAYERS, NANO_HEADS = 192, 4, 3


@register("model", "catlip_vit_nano")
def catlip_vit_nano(num_classes: int = VOCABULARY, image_size: int = 64,
                    pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d",
                    drop_path_rate: float = 0.0, prior: float | None = 0.01,
                    head_std: float = 0.02) -> nn.Module:
    """CatLIP in small, for a CPU at 64x64 pixels: 1.8 M parameters beside the head.

    No paper has it. Gives logits (a LinearOutput), pooled, and in evaluation tokens. Arguments as
    of catlip_vit_b16, and

    Args:
        prior: probability that every class starts at; None: a half, as with the large ones.
        head_std: of the head's weights; 0.001 with the large ones.
    """
    return CatLIP(num_classes, image_size, NANO_WIDTH, NANO_LAYERS, NANO_HEADS,
                  pos_embed_interp=pos_embed_interp, drop_path_rate=drop_path_rate, prior=prior,
                  head_std=head_std)


@register("model", "catlip_vit_b16",
          "CatLIP ViT-B/16: 86.0 M parameters and a head of 18.7 M for 24,320 classes.",
          width=768, layers=12, heads=12)
@register("model", "catlip_vit_l16",
          "CatLIP ViT-L/16: 303.8 M parameters and a head of 24.9 M for 24,320 classes.",
          width=1024, layers=24, heads=16)
@register("model", "catlip_vit_h16",
          "CatLIP ViT-H/16: 632.0 M parameters and a head of 31.2 M for 24,320 classes.",
          width=1280, layers=32, heads=20)
def catlip_vit(num_classes: int = VOCABULARY, image_size: int = 224,
               pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d",
               drop_path_rate: float = 0.0, width_divisor: int = 1, depth_divisor: int = 1, *,
               width: int, layers: int, heads: int) -> nn.Module:
    """CatLIP's vision transformer with patches of 16 pixels.

    Gives logits (a LinearOutput), pooled, and in evaluation tokens.

    Args:
        num_classes: width of the head.
        image_size: height and width in pixels that the position table is made for.
        pos_embed_interp: how positions are stretched to other sizes: grid2d, over the grid; flat1d,
            along the row of all tokens, as published weights were trained.
        drop_path_rate: stochastic depth of the last block.
        width_divisor: divides width and number of heads: above 1, a narrow copy, to try things.
        depth_divisor: divides the number of blocks (one stays).
        width: of the tokens.
        layers: transformer blocks.
        heads: attention heads; H has 20, where timm's has 16.
    """
    return CatLIP(num_classes, image_size, width // width_divisor, max(1, layers // depth_divisor),
                  heads // width_divisor, pos_embed_interp=pos_embed_interp,
                  drop_path_rate=drop_path_rate)


@register("model", "catlip_clip_nano")
def catlip_clip_nano(embed_dim: int = NANO_WIDTH, image_size: int = 64, context_length: int = 16,
                     vocab_size: int = 49408) -> nn.Module:
    """The CLIP beside catlip_vit_nano: its image tower and a text tower of two blocks, 128 wide.

    No paper has it. Gives what catlip_clip_vit_b16 gives, and has its arguments.
    """
    return CLIP(_image_tower(NANO_WIDTH, NANO_LAYERS, NANO_HEADS, image_size, embed_dim),
                TextTransformer(width=128, heads=4, layers=2, embed_dim=embed_dim, causal=True,
                                context_length=context_length, vocab_size=vocab_size))


@register("model", "catlip_clip_vit_b16")
def catlip_clip_vit_b16(embed_dim: int = 512, image_size: int = 224, context_length: int = 77,
                        vocab_size: int = 49408, width_divisor: int = 1,
                        depth_divisor: int = 1) -> nn.Module:
    """The CLIP that CatLIP is compared with: its ViT-B/16, and CLIP's text tower.

    The text tower has 12 causal blocks, 512 wide. Gives image_features, text_features, logit_scale;
    synthetic_text_features where there is synthetic_text. Positions are stretched over the grid.

    Args:
        embed_dim: width of the features.
        image_size: height and width in pixels that the position table is made for.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        width_divisor: divides widths and heads (one stays): above 1, a narrow copy, to try things.
        depth_divisor: divides the number of blocks of each tower (one stays).
    """
    layers = max(1, 12 // depth_divisor)
    image_tower = _image_tower(768 // width_divisor, layers, max(1, 12 // width_divisor),
                               image_size, embed_dim)
    text_tower = TextTransformer(width=512 // width_divisor, heads=max(1, 8 // width_divisor),
                                 layers=layers, embed_dim=embed_dim, causal=True,
                                 context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)


def _image_tower(width: int, layers: int, heads: int, image_size: int, embed_dim: int) -> ViT:
    return ViT(ConvStem(width, padding=1), image_size // 16, width, layers, heads, embed_dim,
               class_position=False, norm_eps=NORM_EPS)
