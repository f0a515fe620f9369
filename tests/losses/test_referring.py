"""The loss of referring expressions against its formula."""

import math

import pytest
import torch

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
    boxes = torch.tensor([[0.0, 0, 8, 8]])
    offsets = torch.tensor([0, 1, 1])  # the second sample has none
    scores = torch.randn(2, 16)
    found = torch.tensor([0.0, 0, 8, 4]).expand(2, 16, 4)
    loss = Referring(box_weight=2.0)
    parts = loss(scores, torch.zeros(2, 16), found, CENTERS.expand(2, -1, -1), boxes, offsets)
    assert parts["score"] == pytest.approx(float(-scores[0].log_softmax(0)[0]))
    assert float(parts["inside"]) == pytest.approx(5 * math.log(2))
    assert float(parts["giou"]) == pytest.approx(2 * 0.5)  # half of the box, nothing beside it
    assert float(parts["l1"]) == pytest.approx(2 * (4 / 8) / 4)
    assert int(loss.weights(offsets)) == 1
