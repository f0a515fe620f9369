"""Average precision against a brute-force count over thresholds, ties and classes without positives
among them.
"""

import pytest
import torch
from torch import Tensor

from corekit import CorekitError
from corekit.evaluation.metrics.average_precision import average_precision, mean_average_precisions


def brute_force(scores: Tensor, hits: Tensor) -> float:
    """One ranking: precision at every distinct threshold, times the recall gained there."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        actual = int((hits & taken).sum())
        total += (actual - before) / int(hits.sum()) * actual / int(taken.sum())
        before = actual
    return total


def draw(samples: int, classes: int, distinct: int | None, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(samples, classes, generator=generator)
    if distinct:
        scores = (scores * distinct).round() / distinct
    return scores, torch.rand(samples, classes, generator=generator) < 0.2


def test_one_ranking_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.5], [0.8, 0.5], [0.7, 0.5], [0.1, 0.5]])
    hits = torch.tensor([[True, False], [False, True], [True, False], [False, False]])
    # first and third place: (1/1 + 2/3) / 2; all the same: one threshold, at which one in four is a
    # hit
    assert average_precision(scores, hits).tolist() == pytest.approx([5 / 6, 1 / 4])


@pytest.mark.parametrize("distinct", [None, 1, 4])
@pytest.mark.parametrize("block", [1, 3, 8, 100])
def test_means_are_those_of_brute_force(distinct: int | None, block: int) -> None:
    scores, hits = draw(40, 11, distinct, seed=block)
    hits[:, 4] = False
    hits[:, 6] = True
    present = [number for number in range(11) if number != 4]
    expected = [brute_force(scores[:, number], hits[:, number]) for number in present]
    assert expected[present.index(6)] == pytest.approx(1)
    support = hits.sum(0)[present].tolist()
    sample, row = hits.nonzero(as_tuple=True)
    shuffled = torch.randperm(len(row))
    actual, counted = mean_average_precisions(lambda first, last: scores[:, first:last], 11,
                                             sample[shuffled], row[shuffled], block)
    assert counted == 10
    assert actual["map_macro"] == pytest.approx(sum(expected) / 10)
    assert actual["map_weighted"] == pytest.approx(
        sum(each * count for each, count in zip(expected, support)) / sum(support))
    assert actual["map_micro"] == pytest.approx(brute_force(scores.flatten(), hits.flatten()))
    assert average_precision(scores, hits)[4].isnan()


def test_perfect_and_reversed_rankings() -> None:
    hits = torch.rand(30, 5) < 0.3
    hits[0], hits[1] = True, False
    sample, row = hits.nonzero(as_tuple=True)
    perfect, _ = mean_average_precisions(lambda first, last: hits[:, first:last].float(), 5, sample,
                                         row, 2)
    assert set(perfect.values()) == {1.0}
    worst, _ = mean_average_precisions(lambda first, last: -hits[:, first:last].float(), 5, sample,
                                       row, 2)
    assert worst["map_micro"] == pytest.approx(hits.float().mean().item(), rel=1e-6)


def test_what_cannot_be_ranked_is_told() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(CorekitError, match="no sample of an evaluator's data set has a label"):
        mean_average_precisions(lambda first, last: torch.zeros(3, last - first), 4, none, none, 2)
    with pytest.raises(CorekitError, match="not finite"):
        mean_average_precisions(lambda first, last: torch.full((3, last - first), torch.nan), 4,
                                none.new_ones(1), none.new_ones(1), 2)
