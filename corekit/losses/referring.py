"""The loss of a model that finds what a phrase names."""

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from corekit.registry import register

MIDDLE = 0.5  # of a box's sides: cells whose middle lies in there should have the best score


@register("loss", "referring")
class Referring:
    """A cross-entropy over the cells of a map, and the boxes of the cells in the true box.

    Cells in the middle half of the box share the target of the scores, and all cells in it are
    asked for the box; the nearest cell where none is there. Boxes are compared by 1 - GIoU
    (Rezatofighi et al., 2019) and by L1, in sides of the true box. That a cell is in the true box
    or not is learned too, by a binary cross-entropy of each: a box is four numbers, from which it
    would take long to learn what belongs together.

    Args:
        box_weight: of the boxes' two losses, beside the scores'.
        inside_weight: of the mean over cells of the binary cross-entropy.
    """

    def __init__(self, box_weight: float = 2.0, inside_weight: float = 5.0) -> None:
        self.box_weight, self.inside_weight = box_weight, inside_weight

    def __call__(self, cell_scores: Tensor, cell_inside: Tensor, cell_boxes: Tensor,
                 cell_centers: Tensor, boxes: Tensor, box_offsets: Tensor) -> dict[str, Tensor]:
        """Sums over the samples with a box.

        Args:
            cell_scores: [B, N].
            cell_inside: [B, N], logits.
            cell_boxes: [B, N, 4], x1 y1 x2 y2 in pixels.
            cell_centers: [B, N, 2], x y in pixels.
            boxes: [sum n, 4]; the first of a sample counts.
            box_offsets: int64 [B + 1].
        """
        has_box = box_offsets.diff() > 0
        scores, found = cell_scores[has_box].float(), cell_boxes[has_box].float()
        true = boxes[box_offsets[:-1][has_box]].float()[:, None]
        centers = cell_centers[has_box].float()
        score = F.cross_entropy(scores, shares(centers, true, MIDDLE), reduction="sum")
        share = shares(centers, true, 1.0)
        wide = true.expand_as(found)
        sides = (true[..., 2:] - true[..., :2]).repeat(1, 1, 2)
        giou = generalized_box_iou_loss(found, wide)
        l1 = ((found - wide).abs() / sides).mean(-1)
        is_inside = ((centers > true[..., :2]) & (centers < true[..., 2:])).all(-1).float()
        inside = F.binary_cross_entropy_with_logits(cell_inside[has_box].float(), is_inside,
                                                    reduction="none").mean(1).sum()
        return {"score": score, "inside": self.inside_weight * inside,
                "giou": self.box_weight * (share * giou).sum(),
                "l1": self.box_weight * (share * l1).sum()}

    def weights(self, box_offsets: Tensor) -> Tensor:
        """The number of samples with a box."""
        return (box_offsets.diff() > 0).sum()


def shares(centers: Tensor, boxes: Tensor, part: float) -> Tensor:
    """Equal shares [B, N] of the cells in the middle part of a box, which add up to 1.

    Args:
        centers: [B, N, 2], the middles of the cells.
        boxes: [B, 1, 4].
        part: of the box's sides.
    """
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (centers - middle).abs()
    is_near = (distance <= part / 2 * (boxes[..., 2:] - boxes[..., :2])).all(-1)
    nearest = F.one_hot(distance.sum(-1).argmin(1), centers.shape[1]).bool()
    target = (is_near | nearest).float()
    return target / target.sum(1, keepdim=True)
