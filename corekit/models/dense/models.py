"""The dense heads over any encoder of the registry, which a recipe names."""

from functools import partial

from torch import nn

from corekit.models.dense.deeplab import DeepLabV3
from corekit.models.dense.encoder import DenseEncoder, dense_encoder
from corekit.models.dense.mask_rcnn import MaskRCNN
from corekit.models.dense.pyramid import FeaturePyramid, SimplePyramid
from corekit.models.dense.roi_heads import HeadSizes
from corekit.models.layers.norm import LayerNorm2d
from corekit.registry import register

NORM_EPS = 1e-6


@register("model", "mask_rcnn")
def mask_rcnn(encoder_model: nn.Module, num_classes: int = 80, channels: int = 256,
              top_down: bool = True, anchor_scale: float = 8.0, box_convs: int = 4,
              box_width: int = 1024, mask_convs: int = 4, rois: int = 512,
              sampling_ratio: int = 2) -> nn.Module:
    """Mask R-CNN over any encoder that gives a map or a pyramid: CatLIP's, AIMv2's, CLIP's towers.

    A single map becomes a simple pyramid of 4, 2, 1 and 1/2 times its size. One more level is at
    half the coarsest. In training it gives the five losses that loss mask_rcnn reads.

    Args:
        encoder_model: a model of images, {name: ...}; what only its own outputs need is left out.
        num_classes: without background.
        channels: of the levels.
        top_down: coarser levels are added to finer ones; false: each stands alone, as in ViTDet.
        anchor_scale: side of a level's anchors over its stride.
        box_convs: 3x3 convolutions of the box head.
        box_width: of the box head's hidden layer.
        mask_convs: 3x3 convolutions of the mask head.
        rois: regions of a picture that the losses are of.
        sampling_ratio: points a side in each cell of a pooled region; 0: as many as it has pixels.
    """
    encoder = dense_encoder(encoder_model)
    assert isinstance(encoder, DenseEncoder)
    norm_layer = partial(LayerNorm2d, eps=NORM_EPS)
    strides, widths = [float(stride) for stride in encoder.strides], encoder.widths
    stages: list[nn.Module] = []
    if len(strides) == 1:
        scales = (4, 2, 1, 0.5) if strides[0] > 8 else (2, 1, 0.5)
        simple = SimplePyramid(widths[0], scales, norm_layer)
        strides, widths = [strides[0] / scale for scale in scales], simple.widths
        stages.append(simple)
    stages.append(FeaturePyramid(widths, channels, norm_layer, top_down=top_down, extra="pool"))
    divisor = encoder.strides[-1]
    strides.append(2 * strides[-1])
    sizes = HeadSizes([round(anchor_scale * stride) for stride in strides], box_convs, box_width,
                      mask_convs, rois=rois, pooled_levels=len(strides) - 1,
                      sampling_ratio=sampling_ratio)
    return MaskRCNN(encoder, nn.Sequential(*stages), strides, channels, num_classes, sizes,
                    norm_layer, divisor)


@register("model", "deeplabv3")
def deeplabv3(encoder_model: nn.Module, num_classes: int = 150, channels: int = 256,
              dilations: tuple[int, int, int] = (6, 12, 18), dropout: float = 0.1) -> nn.Module:
    """DeepLabv3 over the last map of any encoder that gives one. Gives logits [B, K, H, W].

    Args:
        encoder_model: a model of images, {name: ...}; what only its own outputs need is left out.
        num_classes: of pixels.
        channels: of the pooling.
        dilations: of its three convolutions, in cells of the map.
        dropout: of whole channels, before the classifier.
    """
    return DeepLabV3(dense_encoder(encoder_model), num_classes, channels, dilations, dropout)
