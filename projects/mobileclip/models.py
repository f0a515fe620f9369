"""MobileCLIP's models (Vasu et al., 2024, tables 1 and 6).

Each gives image_features, text_features and logit_scale, and synthetic_text_features where there is synthetic_text
(``corekit.models.clip.CLIP``). Parameter counts are those of training, image + text.
"""

from corekit.models.clip import CLIP
from corekit.models.transformer import TextTransformer
from corekit.registry import register

from .mci import MCi
from .text import HybridTextTransformer
from .vit import MobileCLIPViT

SQUEEZE_EXCITE = (False, False, True, True)


def _divided(widths: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    return tuple(width // divisor for width in widths)


@register("model", "mobileclip_nano")
def mobileclip_nano(embed_dim: int = 128, context_length: int = 32, vocab_size: int = 49408,
                    drop_path_rate: float = 0.0, layer_scale_init: float = 1.0) -> CLIP:
    """MobileCLIP-S0 in small, for trying things on a CPU at 64x64 pixels: 1.3 M parameters beside the token table.

    Not a model of the paper. Gives image_features, text_features, logit_scale; synthetic_text_features where there is
    synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where the residual scales of both towers start.
    """
    # Layer scale: 1e-5 is for the long training of deep networks. On the quickstart's data, zero-shot top-1 after 30 k
    # samples was 61 % from 1 and 42 % from 0.1 (one seed each).
    # Widths: the stem costs most, and 24 channels run 1.2 to 1.5 times faster than 32.
    image_tower = MCi((1, 1, 2, 1), (24, 48, 96, 192), embed_dim, squeeze_excite=SQUEEZE_EXCITE,
                      drop_path_rate=drop_path_rate, layer_scale_init=layer_scale_init)
    text_tower = HybridTextTransformer(128, heads=4, layers=2, embed_dim=embed_dim, mlp_ratio=3.0,
                                       context_length=context_length, vocab_size=vocab_size,
                                       layer_scale_init=layer_scale_init)
    return CLIP(image_tower, text_tower)


@register("model", "mobileclip_s0")
def mobileclip_s0(embed_dim: int = 512, context_length: int = 77, vocab_size: int = 49408,
                  drop_path_rate: float = 0.0, layer_scale_init: float = 1e-5, width_divisor: int = 1) -> CLIP:
    """MobileCLIP-S0: MCi0 and the hybrid text tower, 11.4 M + 42.4 M parameters, made for 256x256 pixels.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where the residual scales of both towers start.
        width_divisor: divides widths and numbers of heads: above 1, a narrow copy of the model, for trying things.
    """
    image_tower = MCi((2, 6, 10, 2), _divided((64, 128, 256, 512), width_divisor), embed_dim, squeeze_excite=SQUEEZE_EXCITE,
                      drop_path_rate=drop_path_rate, layer_scale_init=layer_scale_init)
    text_tower = HybridTextTransformer(512 // width_divisor, heads=8 // width_divisor, layers=4, embed_dim=embed_dim,
                                       context_length=context_length, vocab_size=vocab_size,
                                       layer_scale_init=layer_scale_init)
    return CLIP(image_tower, text_tower)


@register("model", "mobileclip_s1")
def mobileclip_s1(embed_dim: int = 512, context_length: int = 77, vocab_size: int = 49408,
                  drop_path_rate: float = 0.0, layer_scale_init: float = 1e-5, width_divisor: int = 1) -> CLIP:
    """MobileCLIP-S1: MCi1 and the plain text tower, 21.5 M + 63.4 M parameters, made for 256x256 pixels.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where the residual scales of the image tower start.
        width_divisor: divides widths and numbers of heads: above 1, a narrow copy of the model, for trying things.
    """
    image_tower = MCi((4, 12, 20, 4), _divided((64, 128, 256, 512), width_divisor), embed_dim, squeeze_excite=SQUEEZE_EXCITE,
                      drop_path_rate=drop_path_rate, layer_scale_init=layer_scale_init)
    text_tower = TextTransformer(512 // width_divisor, heads=8 // width_divisor, layers=12, embed_dim=embed_dim, causal=False,
                                 context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)


@register("model", "mobileclip_s2")
def mobileclip_s2(embed_dim: int = 512, context_length: int = 77, vocab_size: int = 49408,
                  drop_path_rate: float = 0.0, layer_scale_init: float = 1e-5, width_divisor: int = 1) -> CLIP:
    """MobileCLIP-S2: MCi2 and the plain text tower, 35.8 M + 63.4 M parameters, made for 256x256 pixels.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        drop_path_rate: stochastic depth of the image tower's last block.
        layer_scale_init: where the residual scales of the image tower start.
        width_divisor: divides widths and numbers of heads: above 1, a narrow copy of the model, for trying things.
    """
    image_tower = MCi((4, 12, 24, 4), _divided((80, 160, 320, 640), width_divisor), embed_dim, squeeze_excite=SQUEEZE_EXCITE,
                      drop_path_rate=drop_path_rate, layer_scale_init=layer_scale_init)
    text_tower = TextTransformer(512 // width_divisor, heads=8 // width_divisor, layers=12, embed_dim=embed_dim, causal=False,
                                 context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)


@register("model", "mobileclip_b")
def mobileclip_b(embed_dim: int = 512, image_size: int = 224, context_length: int = 77, vocab_size: int = 49408,
                 stem_padding: int = 1, norm_eps: float = 1e-5, drop_path_rate: float = 0.0, width_divisor: int = 1) -> CLIP:
    """MobileCLIP-B: a ViT-B/16 with a convolutional stem and the causal text tower, 86.3 M + 63.4 M parameters.

    Gives image_features, text_features, logit_scale; synthetic_text_features where there is synthetic_text.

    Args:
        embed_dim: width of the features.
        image_size: height and width of the images the position table is made for, in pixels.
        context_length: tokens of a caption.
        vocab_size: number of token ids.
        stem_padding: 1 for Apple's weights, 0 for those trained in timm's ``vit_base_mci_224``.
        norm_eps: epsilon of the image tower's layer norms: 1e-5 for Apple's weights, 1e-6 for timm's.
        drop_path_rate: stochastic depth of the image tower's last block.
        width_divisor: divides widths and numbers of heads: above 1, a narrow copy of the model, for trying things.
    """
    image_tower = MobileCLIPViT(embed_dim, image_size, 768 // width_divisor, 12 // width_divisor, stem_padding=stem_padding,
                                norm_eps=norm_eps, drop_path_rate=drop_path_rate)
    text_tower = TextTransformer(512 // width_divisor, heads=8 // width_divisor, layers=12, embed_dim=embed_dim, causal=True,
                                 context_length=context_length, vocab_size=vocab_size)
    return CLIP(image_tower, text_tower)
