"""A Mask R-CNN and a DeepLabv3 in small, over the encoder of the quickstart."""

from functools import partial

from torch import nn

from corekit.models.dense.deeplab import DeepLabV3
from corekit.models.dense.mask_rcnn import MaskRCNN
from corekit.models.dense.pyramid import FeaturePyramid, SimplePyramid
from corekit.models.dense.roi_heads import HeadSizes
from corekit.models.layers.norm import LayerNorm2d
from corekit.registry import register

from .models import NANO_HEADS, NANO_LAYERS, NANO_WIDTH
from .vit import NORM_EPS, CatLIP


@register("model", "catlip_mask_rcnn_nano")
def catlip_mask_rcnn_nano(num_classes: int = 20, image_size: int = 128, rois: int = 32,
                          drop_path_rate: float = 0.0) -> nn.Module:
    """Mask R-CNN in small over catlip_vit_nano, for a CPU at 128x128 pixels: 3.0 M parameters.

    No paper has it. Levels at strides 8, 16 and 32 of 64 channels, with anchors of 24, 48 and 96
    pixels. In training it gives the five losses that loss mask_rcnn reads.

    Args:
        num_classes: without background.
        image_size: height and width in pixels that the position table is made for.
        rois: regions of a picture that the losses are of.
        drop_path_rate: stochastic depth of the last block.
    """
    encoder = CatLIP(1, image_size, NANO_WIDTH, NANO_LAYERS, NANO_HEADS,
                     drop_path_rate=drop_path_rate).dense()
    norm_layer = partial(LayerNorm2d, eps=NORM_EPS)
    simple = SimplePyramid(NANO_WIDTH, (2, 1, 0.5), norm_layer)
    pyramid = nn.Sequential(simple, FeaturePyramid(simple.widths, 64, norm_layer))
    sizes = HeadSizes(anchors=(24, 48, 96), box_convs=1, box_width=256, mask_convs=1,
                      rpn_samples=64, rois=rois, proposals=(500, 200), pooled_levels=3,
                      sampling_ratio=1)  # of a cell of a pooled region, often half of one
    return MaskRCNN(encoder, pyramid, (8, 16, 32), 64, num_classes, sizes, norm_layer, divisor=32)


@register("model", "catlip_deeplabv3_nano")
def catlip_deeplabv3_nano(num_classes: int = 21, image_size: int = 64,
                          drop_path_rate: float = 0.0) -> nn.Module:
    """DeepLabv3 in small over catlip_vit_nano with patches at stride 8, for a CPU at 64x64 pixels.

    No paper has it. Dilations of 1, 2 and 3, and 64 channels. Gives logits [B, K, H, W].

    Args:
        num_classes: of pixels.
        image_size: height and width in pixels that the position table is made for.
        drop_path_rate: stochastic depth of the last block.
    """
    encoder = CatLIP(1, 2 * image_size, NANO_WIDTH, NANO_LAYERS, NANO_HEADS,
                     drop_path_rate=drop_path_rate, first_stride=2).dense()
    return DeepLabV3(encoder, num_classes, 64, (1, 2, 3))
