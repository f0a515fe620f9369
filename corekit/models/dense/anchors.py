"""Anchors that step by the strides of their levels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width


class StridedAnchors(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors, stepping by each level's own stride.

    torchvision steps by the picture's side over the map's, cut to whole pixels: 60 instead of 64
    for a map of 9 rows at 544 pixels, 3 instead of 3.5 where patches have 14 pixels.
    """

    def __init__(self, sides: Sequence[int], strides: Sequence[float]) -> None:
        super().__init__(*anchor_arguments(sides))
        self.steps = tuple(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        first = feature_maps[0]
        steps = [[torch.tensor(stride, dtype=first.dtype, device=first.device)] * 2
                 for stride in self.steps]
        self.set_cell_anchors(first.dtype, first.device)
        levels = self.grid_anchors([list(level.shape[-2:]) for level in feature_maps], steps)
        return [torch.cat(levels)] * len(image_list.image_sizes)


Ratios = tuple[tuple[float, ...], ...]


def anchor_arguments(sides: Sequence[int]) -> tuple[tuple[tuple[int], ...], Ratios]:
    """torchvision's arguments for anchors of one side a level, in three ratios."""
    return tuple((side,) for side in sides), (ASPECT_RATIOS,) * len(sides)
