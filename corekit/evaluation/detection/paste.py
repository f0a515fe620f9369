"""Masks of boxes as run lengths of whole pictures, one mask at a time."""

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.roi_heads import expand_boxes, expand_masks

from corekit.data.loading.whole_picture import Size, WholePicture
from corekit.evaluation.detection.ground_truth import rle
from corekit.evaluation.metrics.coco import Rle


def in_picture(boxes: Tensor, resize: WholePicture, own: Size) -> Tensor:
    """Boxes [n, 4] of what the model sees, in pixels of the picture, and no part outside it."""
    height, width = (side / content for side, content in zip(own, resize.content(own)))
    scaled = boxes * boxes.new_tensor([width, height, width, height])
    limits = boxes.new_tensor([own[1], own[0], own[1], own[0]])
    return scaled.clamp(min=0).minimum(limits)


def pasted(masks: Tensor, boxes: Tensor, size: Size) -> Iterator[Rle]:
    """Run lengths of masks [n, M, M], probabilities inside boxes [n, 4] of a picture.

    As torchvision pastes them: with a border of one pixel, bilinear, whole pixels. Only the columns
    of a box are ever held.
    """
    for part, left, top in _resized(masks, boxes, size):
        yield _run_lengths((part > 0.5).numpy(), left, top, size)


def pasted_then_resized(masks: Tensor, boxes: Tensor, seen: Size, own: Size) -> Iterator[Rle]:
    """As CoreNet: pasted as probabilities at the size the model sees, then resized to the own one.

    The second is bilinear with the corners aligned.
    """
    for part, left, top in _resized(masks, boxes, seen):
        whole = part.new_zeros(seen)
        whole[top:top + part.shape[0], left:left + part.shape[1]] = part
        resized = F.interpolate(whole[None, None], own, mode="bilinear", align_corners=True)
        yield rle((resized[0, 0] > 0.5).numpy(), own)


def _resized(masks: Tensor, boxes: Tensor, size: Size) -> Iterator[tuple[Tensor, int, int]]:
    """The part of each mask that lies in the picture, resized, and its left and top there."""
    bordered, scale = expand_masks(masks[:, None].float(), padding=1)
    edges = expand_boxes(boxes.float(), scale).long().tolist()
    for mask, (left, top, right, bottom) in zip(bordered, edges):
        shape = max(1, bottom - top + 1), max(1, right - left + 1)
        whole = F.interpolate(mask[None], shape, mode="bilinear", align_corners=False)[0, 0]
        x, y = max(left, 0), max(top, 0)
        inside = whole[y - top:max(0, size[0] - top), x - left:max(0, size[1] - left)]
        yield inside, x, y


def _run_lengths(part: NDArray[np.bool_], left: int, top: int, size: Size) -> Rle:
    """Run lengths of a picture with this part at a place, and nothing elsewhere."""
    height, width = size
    rows, columns = part.shape
    # each column ends with a 0, so that none runs into the next
    flat = np.zeros((columns, rows + 1), dtype=np.bool_)
    flat[:, :rows] = part.T
    flat = flat.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[:1].any():
        edges = np.concatenate([[0], edges])
    column, row = np.divmod(edges, rows + 1)
    edges = (left + column) * height + top + row
    # where a column is full, its end is the next one's beginning, which is no edge
    is_edge = np.ones(len(edges), dtype=np.bool_)
    is_edge[1:] = edges[1:] != edges[:-1]
    is_edge[:-1] &= is_edge[1:]
    edges = edges[is_edge]
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    if len(counts) > 1 and not counts[-1]:
        counts = counts[:-1]
    return rle({"size": [height, width], "counts": counts.tolist()}, size)
