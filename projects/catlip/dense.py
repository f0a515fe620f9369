"""CatLIP's encoder under a Mask R-CNN and a DeepLabv3 (Mehta et al., 2024, section 5).

Sizes and starting weights are those of CoreNet. Where CoreNet departs from what is usual, an
argument says so, and converted weights come with CoreNet's values.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from corekit.models.dense.deeplab import DeepLabV3
from corekit.models.dense.mask_rcnn import MaskRCNN
from corekit.models.dense.pyramid import FeaturePyramid, SimplePyramid
from corekit.models.dense.roi_heads import HeadSizes
from corekit.models.layers.norm import LayerNorm2d
from corekit.models.layers.positions import Interpolation
from corekit.registry import register

from .vit import NORM_EPS, CatLIP

STRIDES = (4, 8, 16, 32, 64)
CHANNELS, BOX_WIDTH = 256, 1024  # of the pyramid, and of the box head's hidden layer
ASPP_CHANNELS, DILATIONS = 512, (12, 24, 36)


class StdNorm(LayerNorm2d):
    """The same with the deviation plus epsilon below the fraction, as CoreNet has it."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        variance, mean = torch.var_mean(wide, 1, correction=0, keepdim=True)
        # channels that are all alike have no slope at a root of 0
        normed = (wide - mean) / (variance.clamp(min=1e-24).sqrt() + self.eps)
        scaled = normed * self.weight[:, None, None] + self.bias[:, None, None]
        return scaled.to(x.dtype)


@register("model", "catlip_mask_rcnn_b16",
          "Mask R-CNN over CatLIP ViT-B/16, 111.6 M parameters.", width=768, layers=12, heads=12)
@register("model", "catlip_mask_rcnn_l16",
          "Mask R-CNN over CatLIP ViT-L/16, 331.7 M parameters.", width=1024, layers=24, heads=16)
@register("model", "catlip_mask_rcnn_h16",
          "Mask R-CNN over CatLIP ViT-H/16, 662.7 M parameters.", width=1280, layers=32, heads=20)
def catlip_mask_rcnn(num_classes: int = 80, image_size: int = 224,
                     pos_embed_interp: Interpolation = "grid2d", drop_path_rate: float = 0.0,
                     norm: Literal["layer_norm", "std"] = "layer_norm", bare_top: bool = False,
                     roi_aligned: bool = True, pooled_levels: int = 4, rpn_background: float = 0.3,
                     whole_steps: bool = False, width_divisor: int = 1, depth_divisor: int = 1, *,
                     width: int, layers: int, heads: int) -> nn.Module:
    """Mask R-CNN over CatLIP's vision transformer, whose blocks all see the whole picture.

    Levels at strides 4 to 64 of 256 channels. In training it gives the five losses that loss
    mask_rcnn reads. Converted weights come with CoreNet's values, named below.

    Args:
        num_classes: without background.
        image_size: height and width in pixels that the position table is made for.
        pos_embed_interp: as of catlip_vit_b16; CoreNet flat1d.
        drop_path_rate: stochastic depth of the last block.
        norm: of pyramid and heads: layer_norm; std, which adds epsilon to the deviation; CoreNet
            std.
        bare_top: the level at stride 32 is without its 3x3 convolution; CoreNet true.
        roi_aligned: pixels have their centres at halves in RoIAlign; CoreNet false.
        pooled_levels: levels that regions are pooled from; CoreNet 5, with stride 64.
        rpn_background: IoU below which an anchor is background; CoreNet 0.7.
        whole_steps: anchors step by the picture's side over the map's, cut to whole pixels; CoreNet
            true. Where 64 divides the side both are the same.
        width_divisor: divides widths and heads: above 1, a narrow copy, to try things.
        depth_divisor: divides the number of blocks (one stays).
        width, layers, heads: of the transformer.
    """
    encoder = _encoder(width, layers, heads, width_divisor, depth_divisor, image_size,
                       pos_embed_interp, drop_path_rate)
    channels = CHANNELS // width_divisor
    norm_layer = partial(StdNorm if norm == "std" else LayerNorm2d, eps=NORM_EPS)
    simple = SimplePyramid(encoder.widths[0], (4, 2, 1, 0.5), norm_layer)
    levels = FeaturePyramid(simple.widths, channels, norm_layer, extra="conv", bare_top=bare_top)
    sizes = HeadSizes(box_width=BOX_WIDTH // width_divisor, rpn_background=rpn_background,
                      pooled_levels=pooled_levels, roi_aligned=roi_aligned,
                      whole_steps=whole_steps)
    model = MaskRCNN(encoder, nn.Sequential(simple, levels), STRIDES, channels, num_classes, sizes,
                     norm_layer, divisor=32)
    for layer in model.roi_heads.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


@register("model", "catlip_deeplabv3_b16",
          "DeepLabv3 over CatLIP ViT-B/16, 98.8 M parameters.", width=768, layers=12, heads=12)
@register("model", "catlip_deeplabv3_l16",
          "DeepLabv3 over CatLIP ViT-L/16, 320.4 M parameters.", width=1024, layers=24, heads=16)
@register("model", "catlip_deeplabv3_h16",
          "DeepLabv3 over CatLIP ViT-H/16, 652.4 M parameters.", width=1280, layers=32, heads=20)
def catlip_deeplabv3(num_classes: int = 150, image_size: int = 224,
                     pos_embed_interp: Interpolation = "grid2d", drop_path_rate: float = 0.0,
                     dropout: float = 0.1, width_divisor: int = 1, depth_divisor: int = 1, *,
                     width: int, layers: int, heads: int) -> nn.Module:
    """DeepLabv3 over CatLIP's vision transformer, its patches 8 pixels apart.

    Gives logits [B, K, H, W].

    Args:
        num_classes: of pixels.
        image_size: height and width in pixels that the position table of patches at stride 16 is
            made for.
        pos_embed_interp: as of catlip_vit_b16; CoreNet, and converted weights, flat1d.
        drop_path_rate: stochastic depth of the last block.
        dropout: of whole channels, before the classifier.
        width_divisor: divides widths and heads: above 1, a narrow copy, to try things.
        depth_divisor: divides the number of blocks (one stays).
        width, layers, heads: of the transformer.
    """
    encoder = _encoder(width, layers, heads, width_divisor, depth_divisor, image_size,
                       pos_embed_interp, drop_path_rate, first_stride=2)
    return DeepLabV3(encoder, num_classes, ASPP_CHANNELS // width_divisor, DILATIONS, dropout)


def _encoder(width: int, layers: int, heads: int, width_divisor: int, depth_divisor: int,
             image_size: int, pos_embed_interp: Interpolation, drop_path_rate: float,
             first_stride: int = 4) -> CatLIP:
    return CatLIP(1, image_size, width // width_divisor, max(1, layers // depth_divisor),
                  heads // width_divisor, pos_embed_interp=pos_embed_interp,
                  drop_path_rate=drop_path_rate, first_stride=first_stride).dense()
