"""The rule of prediction against a loop that follows its words."""

import pytest
import torch
from torch import Tensor

from corekit.evaluation.metrics.ties import best_classes, decided_by_tie


def by_hand(scores: Tensor, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda number: (-row[number], number))[:k]
            for row in scores.tolist()]


@pytest.mark.parametrize("k", [1, 5, 12, 40])
@pytest.mark.parametrize("distinct", [1, 2, 6, 1000])
def test_of_equal_scores_the_first_class_comes_first(distinct: int, k: int) -> None:
    generator = torch.Generator().manual_seed(distinct)
    scores = torch.randint(0, distinct, (60, 40), generator=generator) / distinct - 0.5
    assert best_classes(scores, k).tolist() == by_hand(scores, k)
    assert decided_by_tie(scores).tolist() == [
        row.count(max(row)) > 1 for row in scores.tolist()]
    assert best_classes(scores, 1)[:, 0].equal(scores.argmax(1)), "argmax is the same rule"


def test_rows_beside_tied_ones_and_few_classes() -> None:
    scores = torch.tensor([[0.1, 0.3, 0.2], [0.4, 0.4, 0.9], [-0.0, 0.0, -1.0]])
    assert best_classes(scores).tolist() == [[1, 2, 0], [2, 0, 1], [0, 1, 2]]
    assert decided_by_tie(scores).tolist() == [False, False, True]
    assert best_classes(torch.zeros(2, 1)).tolist() == [[0], [0]]
    assert best_classes(scores, 0).shape == (3, 0)
    assert best_classes(scores[:0]).shape == (0, 3)


def test_the_tie_may_lie_behind_the_last_place() -> None:
    """Which of two equal ones is the fifth is a tie too, though the sixth is not asked for."""
    scores = torch.arange(9.0).flip(0).repeat(50, 1)
    scores[:, 5:] = scores[:, 4:5]
    assert best_classes(scores).tolist() == [[0, 1, 2, 3, 4]] * 50
