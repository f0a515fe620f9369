"""Tests of differences: exact where they are, and as often wrong as they claim."""

import math

import numpy as np
import pytest

from corekit.evaluation.figure import Figure, Predictions
from corekit.evaluation.metrics.classification import classification_estimates
from corekit.evaluation.metrics.uncertainty import mean_of
from corekit.evaluation.suite.report.paired import (
    holm,
    mcnemar,
    paired,
    same_samples,
    two_sided,
    unpaired,
)


def test_mcnemar_is_exact() -> None:
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(2, 10) == mcnemar(10, 2)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(7, 7) == mcnemar(0, 0) == 1
    total, tail = 1000, 460
    exact = 2 * sum(math.comb(total, k) for k in range(tail + 1)) / 2**total
    assert mcnemar(tail, total - tail) == pytest.approx(exact, rel=1e-7)


def test_a_pair_by_hand() -> None:
    first = mean_of(np.array([1, 1, 0, 0, 1, 0, 1, 1], bool))
    second = mean_of(np.array([1, 1, 1, 1, 1, 1, 0, 1], bool))
    difference = paired(first, second)
    assert difference is not None
    assert (difference.first, difference.second) == (5 / 8, 7 / 8)
    assert difference.test == "McNemar"
    assert difference.p_value == pytest.approx(2 * (1 + 4) / 16)
    each = np.array([0, 0, 1, 1, 0, 1, -1, 0])
    assert difference.standard_error == pytest.approx(each.std() / 8**0.5)


def test_models_that_agree_are_told_apart_by_few_samples() -> None:
    """A paired test sees what an unpaired one cannot: 30 more right among the same 10,000."""
    own = np.random.default_rng(0).random(10_000) < 0.7
    other = own.copy()
    other[np.flatnonzero(~own)[:30]] = True
    first, second = mean_of(own), mean_of(other)
    difference, blind = paired(first, second), unpaired(first.figure(), second.figure())
    assert difference is not None
    assert blind is not None
    assert difference.p_value == pytest.approx(2 / 2**30)
    assert blind.p_value is not None
    assert blind.p_value > 0.6
    assert blind.standard_error > 5 * difference.standard_error  # type: ignore[operator]


def draw(draws: np.random.Generator, label: np.ndarray, chance: float) -> dict[str, np.ndarray]:
    """Predictions whose easy and hard samples are those of every model."""
    hard = np.random.default_rng(5).random(len(label))
    right = draws.random(len(label)) < np.clip(chance + hard - 0.5, 0, 1)
    best = np.where(right, label, (label + draws.integers(1, 6, len(label))) % 6)
    group = np.arange(len(label)) % 2
    return {"label": label, "best": best[:, None], "tied": right & False, "classes": np.array(6),
            "metadata": group[:, None]}


@pytest.mark.parametrize("metric", ["top1", "mean_per_class_recall", "f1_macro",
                                    "worst_group_top1"])
def test_equal_models_differ_in_about_five_of_a_hundred_sets(metric: str) -> None:
    draws, low, covered = np.random.default_rng(2), 0, 0
    label = np.repeat(np.arange(6), [20, 40, 60, 80, 100, 100])
    for _ in range(300):
        of_both = [classification_estimates(draw(draws, label, 0.7), 0)[metric] for _ in range(2)]
        difference = paired(*of_both)
        assert difference is not None
        low += difference.p_value < 0.05  # type: ignore[operator]
        below, above = difference.interval() or (1, -1)
        covered += below <= 0 <= above
    # 15 and 285 are expected; a minimum of two groups makes the test a little rash
    assert low <= 25
    assert covered >= 275


def test_of_two_different_worst_groups_the_samples_are_different() -> None:
    label, group, place = np.zeros(400, int), np.repeat([0, 1], 200), np.arange(400) % 200
    worst = []
    for right in ([100, 150], [150, 100]):
        best = (place >= np.array(right)[group]).astype(int)[:, None]
        estimates = classification_estimates({
            "label": label, "best": best, "tied": label > 0, "classes": np.array(5),
            "metadata": group[:, None]}, 0)
        worst.append(estimates["worst_group_top1"])
    difference = paired(*worst)
    assert difference is not None
    assert difference.value == 0
    assert difference.standard_error == pytest.approx((2 * .5 * .5 / 200)**0.5)


def test_published_figures() -> None:
    difference = unpaired(Figure(0.5, 100, 0.03), Figure(0.6, 100, 0.04))
    assert difference is not None
    assert difference.standard_error == pytest.approx(0.05)
    assert difference.p_value == pytest.approx(two_sided(2, 1))
    assert difference.p_value == pytest.approx(0.0455, abs=1e-4)
    as_sure = unpaired(Figure(0.5, 100, 0.03), Figure(0.6, 100))
    assert as_sure is not None
    assert as_sure.standard_error == pytest.approx(0.03 * 2**0.5)
    unknown = unpaired(Figure(0.5, 100), Figure(0.6, 100))
    assert unknown is not None
    assert (unknown.p_value, unknown.interval()) == (None, None)
    assert unpaired(Figure(None, 0), Figure(0.6, 100)) is None


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_predictions_of_other_samples_are_not_paired() -> None:
    labels: Predictions = {"label": np.arange(4)}
    assert same_samples("classification", labels, {"label": np.arange(4)})
    assert not same_samples("classification", labels, {"label": np.arange(4)[::-1]})
    assert not same_samples("classification", labels, {"label": np.arange(5)})
    assert not same_samples("selection", {"above": np.zeros(3)}, {"above": np.zeros(2)})
