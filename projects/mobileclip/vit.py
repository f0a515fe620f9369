"""MobileCLIP-B's image tower, a ViT-B/16 with a convolutional stem (Vasu et al., 2024, 3.1)."""

from corekit.models.conv_stem import ConvStem
from corekit.models.vit import ViT


class MobileCLIPViT(ViT):
    """ViT-B/16 behind a convolutional stem, named as timm's ``vit_base_mci_224``.

    The class token has no position. Two trained forms exist that differ in nothing the weights
    would show, so both arguments must be given: Apple's MobileCLIP-B (padding 1, epsilon 1e-5) and
    timm's, in which MobileCLIP2-B was trained (padding 0, epsilon 1e-6).

    Args:
        image_size: height and width of the images the position table is made for, in pixels.
        width: of the residual stream; a multiple of the heads.
        stem_padding: zeros around the image before the stem's first convolution, in pixels.
        drop_path_rate: stochastic depth of the last block; the others' grows linearly from 0.
    """

    def __init__(self, embed_dim: int, image_size: int, width: int = 768, heads: int = 12,
                 layers: int = 12, *, stem_padding: int, norm_eps: float, head_bias: bool = False,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__(ConvStem(width, stem_padding), image_size // 16, width=width,
                         layers=layers, heads=heads, embed_dim=embed_dim, class_position=False,
                         norm_eps=norm_eps, head_bias=head_bias, drop_path_rate=drop_path_rate)
