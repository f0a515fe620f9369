"""CatLIP's models (Mehta et al., 2024): B, L and H with patches of 16 pixels. Sizes are those of CoreNet."""

from typing import Literal

from torch import nn

from corekit.registry import register

from .vit import CatLIP

VOCABULARY = 24320  # synsets that pre-training on DataComp-1.3B tells apart


@register("model", "catlip_vit_b16")
def catlip_vit_b16(num_classes: int = VOCABULARY, image_size: int = 224,
                   pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d", drop_path_rate: float = 0.0,
                   width_divisor: int = 1) -> nn.Module:
    """CatLIP ViT-B/16: 86.0 M parameters and a head of 18.7 M for 24,320 classes.

    Gives logits (a LinearOutput), pooled, and in evaluation tokens.

    Args:
        num_classes: width of the head.
        image_size: height and width of the images the position table is made for, in pixels.
        pos_embed_interp: how positions are stretched to other sizes: grid2d, over the grid; flat1d, along the row of all
            tokens, as published weights were trained.
        drop_path_rate: stochastic depth of the last block.
        width_divisor: divides width and number of heads: above 1, a narrow copy of the model, for trying things.
    """
    return CatLIP(num_classes, image_size, 768 // width_divisor, 12, 12 // width_divisor,
                  pos_embed_interp=pos_embed_interp, drop_path_rate=drop_path_rate)


@register("model", "catlip_vit_l16")
def catlip_vit_l16(num_classes: int = VOCABULARY, image_size: int = 224,
                   pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d", drop_path_rate: float = 0.0,
                   width_divisor: int = 1) -> nn.Module:
    """CatLIP ViT-L/16: 303.8 M parameters and a head of 24.9 M for 24,320 classes.

    Gives logits (a LinearOutput), pooled, and in evaluation tokens. Arguments as of catlip_vit_b16.
    """
    return CatLIP(num_classes, image_size, 1024 // width_divisor, 24, 16 // width_divisor,
                  pos_embed_interp=pos_embed_interp, drop_path_rate=drop_path_rate)


@register("model", "catlip_vit_h16")
def catlip_vit_h16(num_classes: int = VOCABULARY, image_size: int = 224,
                   pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d", drop_path_rate: float = 0.0,
                   width_divisor: int = 1) -> nn.Module:
    """CatLIP ViT-H/16: 632.0 M parameters and a head of 31.2 M for 24,320 classes; 20 heads, where timm's has 16.

    Gives logits (a LinearOutput), pooled, and in evaluation tokens. Arguments as of catlip_vit_b16.
    """
    return CatLIP(num_classes, image_size, 1280 // width_divisor, 32, 20 // width_divisor,
                  pos_embed_interp=pos_embed_interp, drop_path_rate=drop_path_rate)
