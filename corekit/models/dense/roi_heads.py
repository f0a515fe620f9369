"""The heads of a Mask R-CNN (He et al., 2017), on torchvision's region proposals and RoI heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from corekit.models.dense.anchors import ASPECT_RATIOS, StridedAnchors, anchor_arguments
from corekit.models.dense.pyramid import level_of
from corekit.models.layers.norm import NormLayer


@dataclass(frozen=True)
class HeadSizes:
    """How large the heads of a Mask R-CNN are, and what they sample.

    Attributes:
        anchors: side of the anchors of each level, in pixels, finest first.
        whole_steps: anchors step by the picture's side over the map's, cut to whole pixels, as
            torchvision's do, and not by the level's stride.
        box_convs, box_width: 3x3 convolutions of the box head, and its hidden layer.
        mask_convs: 3x3 convolutions of the mask head.
        rpn_background: IoU below which an anchor is background.
        rpn_samples, rois: anchors and regions of a picture that the losses are of.
        proposals: regions of a level and of a picture before and after NMS: training, evaluation.
        pooled_levels: how many of the levels, finest first, regions are pooled from.
        roi_aligned: whether pooling puts pixels' centres at halves, as RoIAlign does now.
        sampling_ratio: points a side in each cell of a pooled region; 0: as many as it has pixels.
    """

    anchors: Sequence[int] = (32, 64, 128, 256, 512)
    box_convs: int = 4
    box_width: int = 1024
    mask_convs: int = 4
    rpn_background: float = 0.3
    rpn_samples: int = 256
    rois: int = 512
    proposals: tuple[int, int] = (2000, 1000)
    pooled_levels: int = 4
    roi_aligned: bool = True
    sampling_ratio: int = 2
    whole_steps: bool = False


class RoIPool(MultiScaleRoIAlign):  # type: ignore[misc]
    """RoIAlign from the level that fits a region's size, whose strides are known beforehand.

    Args:
        strides: pixels between cells of each level.
        size: cells of a side of a pooled region.
        sampling_ratio: points a side in each cell.
        aligned: pixels have their centres at halves: regions are moved by half a cell.
    """

    def __init__(self, strides: Sequence[float], size: int, sampling_ratio: int,
                 aligned: bool) -> None:
        super().__init__([str(number) for number in range(len(strides))], size, sampling_ratio)
        lowest, highest = level_of(strides[0]), level_of(strides[-1])
        self.strides, self.aligned = tuple(strides), aligned
        self.scales = [1 / stride for stride in strides]
        self.lowest, self.map_levels = lowest, LevelMapper(lowest, highest)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor],
                image_shapes: list[tuple[int, int]]) -> Tensor:
        features = {name: level.float() for name, level in x.items()}
        if self.aligned:
            boxes = [self._moved(each) for each in boxes]
        pooled: Tensor = super().forward(features, boxes, image_shapes)
        return pooled

    def _moved(self, boxes: Tensor) -> Tensor:
        strides = boxes.new_tensor(self.strides)
        return boxes - strides[self.map_levels([boxes])][:, None] / 2


class RPNHead(nn.Module):
    """Objectness and box deltas of every anchor, with two 3x3 convolutions of all levels alike."""

    def __init__(self, channels: int, anchors: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.conv = nn.Sequential(*[Conv2dNormActivation(channels, channels, norm_layer=norm_layer)
                                    for _ in range(2)])
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [self.conv(x) for x in maps]
        return ([self.cls_logits(x).float() for x in hidden],
                [self.bbox_pred(x).float() for x in hidden])


class BoxPredictor(FastRCNNPredictor):  # type: ignore[misc]
    """Class scores and box deltas of each class, in float32."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return scores.float(), deltas.float()


class MaskPredictor(nn.Sequential):
    """A mask of each class at twice the size, in float32."""

    def __init__(self, channels: int, classes: int, norm_layer: NormLayer) -> None:
        up = nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)
        last = nn.Conv2d(channels, classes, 1)
        super().__init__(up, norm_layer(channels), nn.ReLU(inplace=True), last)
        for layer in (up, last):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x.float()


def proposal_network(channels: int, strides: Sequence[float], sizes: HeadSizes,
                     norm_layer: NormLayer) -> RegionProposalNetwork:
    """torchvision's RPN: one side of anchors a level, three ratios, positive from IoU 0.7."""
    anchors = (AnchorGenerator(*anchor_arguments(sizes.anchors)) if sizes.whole_steps
               else StridedAnchors(sizes.anchors, strides))
    kept = dict(zip(("training", "testing"), sizes.proposals))
    head = RPNHead(channels, len(ASPECT_RATIOS), norm_layer)
    return RegionProposalNetwork(anchors, head, 0.7, sizes.rpn_background, sizes.rpn_samples, 0.5,
                                 kept, kept, nms_thresh=0.7)


def roi_heads(channels: int, classes: int, strides: Sequence[float], sizes: HeadSizes,
              norm_layer: NormLayer) -> RoIHeads:
    """torchvision's RoI heads for boxes and masks; ``classes`` includes background."""
    pooled = strides[:sizes.pooled_levels]
    pools = [RoIPool(pooled, side, sizes.sampling_ratio, sizes.roi_aligned) for side in (7, 14)]
    convs = [channels] * sizes.box_convs
    box_head = FastRCNNConvFCHead((channels, 7, 7), convs, [sizes.box_width], norm_layer)
    mask_head = MaskRCNNHeads(channels, [channels] * sizes.mask_convs, 1, norm_layer)
    return RoIHeads(pools[0], box_head, BoxPredictor(sizes.box_width, classes), 0.5, 0.5,
                    sizes.rois, 0.25, None, 0.05, 0.5, 100, pools[1], mask_head,
                    MaskPredictor(channels, classes, norm_layer))


def targets_of(boxes: Tensor, box_labels: Tensor, box_offsets: Tensor,
               masks: Tensor | list[Tensor]) -> list[dict[str, Tensor]]:
    """Objects of each picture as torchvision has them, where class 0 is background."""
    edges = box_offsets.tolist()
    targets = []
    for number, (first, last) in enumerate(pairwise(edges)):
        own = masks[number] if isinstance(masks, list) else masks[first:last]
        targets.append({"boxes": boxes[first:last].float(), "labels": box_labels[first:last] + 1,
                        "masks": own})
    return targets


def shapes_alone(rpn: RegionProposalNetwork, heads: RoIHeads, maps: list[Tensor],
                 sizes: HeadSizes) -> dict[str, Tensor]:
    """The five losses on the meta device: everything but matching, NMS and sampling, as zeros."""
    objectness, deltas = rpn.head(maps)
    regions = sizes.rois * len(maps[0])
    pooled = maps[0].new_empty(regions, maps[0].shape[1], 7, 7)
    scores, boxes = heads.box_predictor(heads.box_head(pooled))
    positive = maps[0].new_empty(max(1, regions // 4), maps[0].shape[1], 14, 14)
    masks = heads.mask_predictor(heads.mask_head(positive))
    outputs = {"loss_objectness": objectness, "loss_rpn_box_reg": deltas,
               "loss_classifier": [scores], "loss_box_reg": [boxes], "loss_mask": [masks]}
    return {name: torch.stack([each.sum() for each in values]).sum()
            for name, values in outputs.items()}
