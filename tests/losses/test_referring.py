"""The loss of referring expressions against its formula."""

import pytest
import torch
from torchvision.ops import generalized_box_iou

from corekit.losses.referring import Referring, shares

CENTERS = torch.cartesian_prod(torch.arange(4, 32, 8.0), torch.arange(4, 32, 8.0)).flip(-1)


def test_cells_in_the_middle_half_of_the_box_answer_together() -> None:
    share = shares(CENTERS[None], torch.tensor([[[0.0, 0, 32, 16]]]), 0.5)
    # middles at x 12 and 20, y 4 and 12: within 8 and 4 pixels of (16, 8)
    assert share.view(4, 4).tolist() == [[0, 0.25, 0.25, 0], [0, 0.25, 0.25, 0], [0] * 4, [0] * 4]


def test_the_nearest_cell_answers_for_a_box_between_the_middles() -> None:
    share = shares(CENTERS[None], torch.tensor([[[6.5, 6.5, 8.5, 8.5]]]), 1.0)
    assert share.view(4, 4).nonzero().tolist() == [[0, 0]]


def test_parts_are_cross_entropy_giou_and_l1_over_samples_with_a_box() -> None:
    box = torch.tensor([0.0, 0, 16, 32])  # the left half: 8 cells, of which 4 in its middle
    offsets = torch.tensor([0, 1, 1])  # the second sample has none
    scores, insides = torch.randn(2, 16), torch.randn(2, 16)
    found = torch.cat([CENTERS - 4 * torch.rand(16, 2), CENTERS + 4 * torch.rand(16, 2)], 1)
    loss = Referring(box_weight=2.0, inside_weight=3.0)
    parts = loss(scores, insides, found.expand(2, -1, -1), CENTERS.expand(2, -1, -1), box[None],
                 offsets)
    is_inside = CENTERS[:, 0] < 16
    middle = is_inside & ((CENTERS[:, 1] - 16).abs() < 8) & ((CENTERS[:, 0] - 8).abs() <= 4)
    assert (int(is_inside.sum()), int(middle.sum())) == (8, 4)
    log_scores = scores[0].log_softmax(0)
    assert float(parts["score"]) == pytest.approx(-float(log_scores[middle].mean()), rel=1e-5)
    likely = insides[0].sigmoid()
    binary = -torch.where(is_inside, likely.log(), (1 - likely).log()).mean()
    assert float(parts["inside"]) == pytest.approx(3 * float(binary), rel=1e-5)
    overlap = generalized_box_iou(found[is_inside], box[None])[:, 0]
    assert float(parts["giou"]) == pytest.approx(2 * float((1 - overlap).mean()), rel=1e-5)
    sides = torch.tensor([16.0, 32, 16, 32])
    l1 = ((found[is_inside] - box).abs() / sides).mean()
    assert float(parts["l1"]) == pytest.approx(2 * float(l1), rel=1e-5)
    assert int(loss.weights(offsets)) == 1
