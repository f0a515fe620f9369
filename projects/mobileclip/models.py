"""MobileCLIP's models (Vasu et al., 2024, tables 1 and 6) and MobileCLIP2's (Faghri et al., 2025).

Each gives image_features, text_features and logit_scale, and synthetic_text_features where there is
synthetic_text (``corekit.models.clip.CLIP``). Parameter counts are those of training, image + text.
What released weights differ in without showing it, stem padding, epsilon and the causal mask, are
arguments; their preprocessing is in ``preprocess.py``.
"""

from typing import Literal

from torch import nn

from corekit.errors import CorekitError
from corekit.models.clip import CLIP, ImageEncoder
from corekit.models.conv_stem import ConvStem
from corekit.models.fusion import fold
from corekit.models.layers.patch_embed import PatchEmbed
from corekit.models.text_tower import TextTransformer
from corekit.models.vit import ViT
from corekit.registry import register

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


@register("model", "mobileclip_nano")
def mobileclip_nano(embed_dim: int = 128, context_length: int = 32, vocab_size: int = 49408,
                    drop_path_rate: float = 0.0, layer_scale_init: float = 1.0,
                    fused: bool = False) -> nn.Module:
    """MobileCLIP-S0 in small, for a CPU at 64x64 pixels: 1.3 M parameters beside the token table.

    No paper has it. Gives image_features, text_features, logit_scale; synthetic_text_features where
    there is synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where the residual scales of both towers start.
        fused: the form that ``corekit.reparameterize`` gives, to load its weights into.
    """
    # Layer scale: 1e-5 is for the long training of deep networks. On the quickstart's data,
    # zero-shot top-1 after 30 k samples was 61 % from 1 and 42 % from 0.1 (one seed each). Widths:
    # the stem costs most, and 24 channels run 1.2 to 1.5 times faster than 32.
    image_tower = MCi((1, 1, 2, 1), (24, 48, 96, 192), embed_dim,
                      squeeze_excite=(False, False, True, True), drop_path_rate=drop_path_rate,
                      layer_scale_init=layer_scale_init)
    text_tower = HybridTextTransformer(128, heads=4, layers=2, embed_dim=embed_dim, mlp_ratio=3.0,
                                       context_length=context_length, vocab_size=vocab_size,
                                       layer_scale_init=layer_scale_init)
    return _model(image_tower, text_tower, fused)


@register("model", "mobileclip_s0",
          "MobileCLIP-S0: MCi0 and the hybrid text tower, 11.4 M + 42.4 M parameters.",
          mci_number=0, text_tower="hybrid")
@register("model", "mobileclip_s1",
          "MobileCLIP-S1: MCi1 and the plain text tower, 21.5 M + 63.4 M parameters.", mci_number=1)
@register("model", "mobileclip_s2",
          "MobileCLIP-S2: MCi2 and the plain text tower, 35.8 M + 63.4 M parameters.", mci_number=2)
@register("model", "mobileclip_s3",
          "MobileCLIP-S3: MCi3 and a wider text tower, 125.2 M + 123.7 M parameters.",
          mci_number=3, text_width=768, embed_dim=768, head_bias=True)
@register("model", "mobileclip_s4",
          "MobileCLIP-S4: MCi4 and a wider text tower, 321.8 M + 123.7 M parameters.",
          mci_number=4, text_width=768, embed_dim=768, head_bias=True)
@register("model", "mobileclip2_s0",
          "MobileCLIP2-S0: MCi0 and, as published, the plain text tower, 11.4 M + 63.4 M.",
          mci_number=0, head_bias=True)
@register("model", "mobileclip2_s2",
          "MobileCLIP2-S2: MCi2 and the plain text tower, 35.8 M + 63.4 M parameters.",
          mci_number=2, head_bias=True)
@register("model", "mobileclip2_s3",
          "MobileCLIP2-S3: MCi3 and a wider text tower, 125.2 M + 123.7 M parameters.",
          mci_number=3, text_width=768, embed_dim=768, head_bias=True)
@register("model", "mobileclip2_s4",
          "MobileCLIP2-S4: MCi4 and a wider text tower, 321.8 M + 123.7 M parameters.",
          mci_number=4, text_width=768, embed_dim=768, head_bias=True)
def mobileclip_mci(embed_dim: int = 512, context_length: int = 77, vocab_size: int = 49408,
                   text_tower: Literal["plain", "hybrid"] | None = "plain", causal: bool = False,
                   head_bias: bool = False, drop_path_rate: float = 0.0,
                   layer_scale_init: float = 1e-5, fused: bool = False, width_divisor: int = 1,
                   depth_divisor: int = 1, *, mci_number: int, text_width: int = 512) -> nn.Module:
    """An MCi image tower and a text tower.

    Made for 256x256 pixels. Gives image_features, text_features, logit_scale; and
    synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        text_tower: plain, 12 blocks; hybrid, 4 between two Text-RepMixer blocks; None: no text.
        causal: each token sees itself and those before it (plain towers only).
        head_bias: whether the projection to image features has a bias.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where residual scales start.
        fused: the form that ``corekit.reparameterize`` gives, to load its weights into.
        width_divisor: divides widths and heads (one stays): above 1, a narrow copy, to try things.
        depth_divisor: divides the numbers of blocks, of each stage and tower (one stays).
        mci_number: which of MCi0 to MCi4.
        text_width: of the text tower.
    """
    depths, widths = MCI[mci_number]
    five = len(depths) == 5  # stages, from MCi3 on
    image = MCi([max(1, depth // depth_divisor) for depth in depths],
                [width // width_divisor for width in widths], embed_dim,
                attention_stages=2 if five else 1,
                squeeze_excite=(False,) * 5 if five else (False, False, True, True),
                mlp_ratio=4.0 if five else 3.0, layer_norm=five, stem_scale_branch=not five,
                head_bias=head_bias, drop_path_rate=drop_path_rate,
                layer_scale_init=layer_scale_init)
    captions = _text(text_tower, text_width, embed_dim, causal, context_length, vocab_size,
                     width_divisor, depth_divisor, layer_scale_init)
    return _model(image, captions, fused)


@register("model", "mobileclip_b", "MobileCLIP-B: a ViT-B/16 with a convolutional stem and the "
                                   "causal text tower, 86.3 M + 63.4 M parameters.")
@register("model", "mobileclip_b_lt", "MobileCLIP-B (LT): MobileCLIP-B trained for longer; the "
                                      "same model, 86.3 M + 63.4 M parameters.")
@register("model", "mobileclip2_b", "MobileCLIP2-B: MobileCLIP-B as timm builds it, with another "
                                    "stem and epsilon, 86.3 M + 63.4 M parameters.",
          stem_padding=0, norm_eps=1e-6, head_bias=True)
def mobileclip_vit(embed_dim: int = 512, image_size: int = 224, context_length: int = 77,
                   vocab_size: int = 49408, text_tower: Literal["plain", "hybrid"] | None = "plain",
                   causal: bool = True, stem_padding: int = 1, norm_eps: float = 1e-5,
                   pos_embed_interp: Literal["grid2d", "flat1d"] = "grid2d",
                   head_bias: bool = False, drop_path_rate: float = 0.0, fused: bool = False,
                   width_divisor: int = 1, depth_divisor: int = 1) -> nn.Module:
    """A ViT-B/16 with a convolutional stem (Vasu et al., 2024, section 3.1) and a text tower.

    The image tower is named as timm's ``vit_base_mci_224``; its class token has no position. Gives
    image_features, text_features, logit_scale; synthetic_text_features where there is
    synthetic_text.

    Args:
        embed_dim: width of the features.
        image_size: height and width in pixels that the position table is made for.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        text_tower: plain, 12 blocks; hybrid, 4 between two Text-RepMixer blocks; None: no text.
        causal: each token sees itself and those before it (plain towers only).
        stem_padding: 1 for Apple's weights, 0 for those trained in timm's ``vit_base_mci_224``.
        norm_eps: of the image tower's layer norms: 1e-5 for Apple's weights, 1e-6 for timm's.
        pos_embed_interp: how positions are stretched to other sizes: grid2d, over the grid; flat1d,
            along the row of all tokens, as Apple's code does.
        head_bias: whether the projection to image features has a bias.
        drop_path_rate: stochastic depth of the image tower's last block.
        fused: the form that ``corekit.reparameterize`` gives, to load its weights into.
        width_divisor: divides widths and heads (one stays): above 1, a narrow copy, to try things.
        depth_divisor: divides the numbers of blocks, of each stage and tower (one stays).
    """
    width = 768 // width_divisor
    image = ViT(ConvStem(width, stem_padding), image_size // 16, width,
                layers=max(1, 12 // depth_divisor), heads=max(1, 12 // width_divisor),
                embed_dim=embed_dim, class_position=False, pos_embed_interp=pos_embed_interp,
                norm_eps=norm_eps, head_bias=head_bias, drop_path_rate=drop_path_rate)
    captions = _text(text_tower, 512, embed_dim, causal, context_length, vocab_size, width_divisor,
                     depth_divisor)
    return _model(image, captions, fused)


@register("model", "mobileclip_l14", "MobileCLIP-L/14: CLIP's ViT-L/14 and a wider text tower that "
                                     "is not causal, 304.0 M + 123.7 M parameters.")
@register("model", "mobileclip2_l14", "MobileCLIP2-L/14: CLIP's ViT-L/14 and a wider text tower "
                                      "that is not causal, 304.0 M + 123.7 M parameters.")
def mobileclip_vit_large(embed_dim: int = 768, image_size: int = 224, context_length: int = 77,
                         vocab_size: int = 49408,
                         text_tower: Literal["plain", "hybrid"] | None = "plain",
                         causal: bool = False, norm_eps: float = 1e-5, head_bias: bool = True,
                         drop_path_rate: float = 0.1, fused: bool = False, width_divisor: int = 1,
                         depth_divisor: int = 1) -> nn.Module:
    """CLIP's ViT-L/14 with GELU (timm's ``vit_large_patch14_clip_224``) and a wider text tower.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is
    synthetic_text. Arguments as of mobileclip_b.
    """
    width = 1024 // width_divisor
    image = ViT(PatchEmbed(width, patch_size=14, bias=False), image_size // 14, width,
                layers=max(1, 24 // depth_divisor), heads=max(1, 16 // width_divisor),
                embed_dim=embed_dim, norm_pre=True, norm_eps=norm_eps, head_bias=head_bias,
                drop_path_rate=drop_path_rate)
    captions = _text(text_tower, 768, embed_dim, causal, context_length, vocab_size, width_divisor,
                     depth_divisor)
    return _model(image, captions, fused)


def _text(kind: str | None, width: int, embed_dim: int, causal: bool, context_length: int,
          vocab_size: int, width_divisor: int, depth_divisor: int,
          layer_scale_init: float = 1e-5) -> TextTransformer | None:
    """The plain text tower (12 blocks), the hybrid one (4 and two Text-RepMixer blocks), or none.

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


def _model(image_tower: nn.Module, text_tower: nn.Module | None, fused: bool) -> nn.Module:
    """The model of both towers, or of images alone; folded if asked for."""
    model = ImageEncoder(image_tower) if text_tower is None else CLIP(image_tower, text_tower)
    return fold(model) if fused else model
