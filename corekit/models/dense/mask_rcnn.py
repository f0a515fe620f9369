"""Mask R-CNN (He et al., 2017) over any encoder: boxes, classes and masks of objects."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from corekit.models.dense.encoder import DenseEncoder, Images, maps_of, padded
from corekit.models.dense.roi_heads import (
    HeadSizes,
    proposal_network,
    roi_heads,
    shapes_alone,
    targets_of,
)
from corekit.models.layers.norm import NormLayer


class MaskRCNN(nn.Module):
    """Boxes, classes and masks of the objects in pictures.

    In training ``forward`` gives five losses, means over the regions that were sampled, which are
    drawn from torch's default generator. Pictures of different sizes come as a list and are padded
    with zeros at the right and below.

    Args:
        encoder: a ``DenseEncoder``.
        pyramid: its maps to a list of maps of ``channels``.
        strides: pixels between the cells of each of these.
        channels: of the maps.
        num_classes: without background.
        sizes: of the heads.
        norm_layer: over the channels of [B, C, H, W], in the heads.
        divisor: pictures are padded to multiples of so many pixels.
    """

    towers = ("encoder",)

    def __init__(self, encoder: nn.Module, pyramid: nn.Module, strides: Sequence[float],
                 channels: int, num_classes: int, sizes: HeadSizes, norm_layer: NormLayer,
                 divisor: int) -> None:
        super().__init__()
        assert isinstance(encoder, DenseEncoder)
        self.encoder, self.pyramid = encoder, pyramid
        self.sizes, self.divisor = sizes, divisor
        self.rpn = proposal_network(channels, strides, sizes, norm_layer)
        self.roi_heads = roi_heads(channels, num_classes + 1, strides, sizes, norm_layer)

    def forward(self, image: Images, boxes: Tensor, box_labels: Tensor, box_offsets: Tensor,
                masks: Tensor | list[Tensor]) -> dict[str, Tensor]:
        """The five losses of a micro-batch, each [].

        Args:
            image: float [B, 3, H, W], or a list of [3, H, W].
            boxes: float [sum n, 4], x1 y1 x2 y2 in pixels of the picture, each of some area.
            box_labels: int64 [sum n], classes from 0.
            box_offsets: int64 [B + 1], where the rows of each picture begin.
            masks: uint8 [sum n, H, W], or a list of [n, H, W].
        """
        assert self.training, "losses are of training; use detect()"
        images, maps = self._maps(image)
        if images.tensors.is_meta:
            return shapes_alone(self.rpn, self.roi_heads, maps, self.sizes)
        targets = targets_of(boxes, box_labels, box_offsets, masks)
        losses: dict[str, Tensor] = self._losses(images, maps, targets)
        return losses

    @torch.no_grad()
    def detect(self, image: Images) -> list[dict[str, Tensor]]:
        """The objects in each picture, best first.

        Returns:
            for each picture ``boxes`` float [n, 4] in its pixels, ``scores`` [n], ``labels`` int64
            [n] from 0, and ``masks`` float [n, 28, 28], probabilities in the box.
        """
        assert not self.training, "call eval() first"
        images, maps = self._maps(image)
        features = _named(maps)
        proposals, _ = self.rpn(images, features)
        objects, _ = self.roi_heads(features, proposals, images.image_sizes)
        return [{**each, "labels": each["labels"] - 1, "masks": each["masks"][:, 0]}
                for each in objects]

    def _maps(self, image: Images) -> tuple[ImageList, list[Tensor]]:
        batch, sizes = padded(image, self.divisor)
        maps: list[Tensor] = self.pyramid(maps_of(self.encoder, batch))
        return ImageList(batch, sizes), maps

    # regions differ in number from step to step; the encoder stays one graph
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _losses(self, images: ImageList, maps: list[Tensor],
                targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        features = _named(maps)
        proposals, of_proposals = self.rpn(images, features, targets)
        _, of_regions = self.roi_heads(features, proposals, images.image_sizes, targets)
        return {**of_proposals, **of_regions}


def _named(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    return {str(number): level for number, level in enumerate(maps)}
