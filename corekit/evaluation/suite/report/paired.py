"""Tests of a difference between two models' figures of one set."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corekit.evaluation.figure import Figure, Predictions
from corekit.evaluation.metrics.choices import (
    matching_estimates,
    selection_estimates,
    winogavil_estimates,
)
from corekit.evaluation.metrics.classification import classification_estimates
from corekit.evaluation.metrics.multi_label import multi_label_estimates
from corekit.evaluation.metrics.retrieval import retrieval_estimates
from corekit.evaluation.metrics.uncertainty import QUANTILE, Estimate, Estimates, standard_error

Of = Callable[[Predictions, int | None], Estimates]
# the estimates of predictions by task, and what two models' predictions of the same samples share
TASKS: Mapping[str, tuple[Of, str | None]] = {
    "classification": (classification_estimates, "label"),
    "multi_label": (lambda predictions, _: multi_label_estimates(predictions), "targets"),
    "retrieval": (lambda predictions, _: retrieval_estimates(predictions), "text_owner"),
    "selection": (lambda predictions, _: selection_estimates(predictions), None),
    "matching": (lambda predictions, _: matching_estimates(predictions), None),
    "winogavil": (lambda predictions, _: winogavil_estimates(predictions), "candidates"),
}


@dataclass(frozen=True)
class Difference:
    """How much higher the second of two figures is; ``p_value`` of no difference, two-sided."""

    first: float
    second: float
    standard_error: float | None
    p_value: float | None
    test: str  # McNemar, paired or unpaired

    @property
    def value(self) -> float:
        return self.second - self.first

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, by the normal distribution."""
        if self.standard_error is None:
            return None
        half = QUANTILE * self.standard_error
        return self.value - half, self.value + half


def same_samples(task: str, first: Predictions, second: Predictions) -> bool:
    """Whether two models' predictions are of the same samples, as far as they tell."""
    shared = TASKS[task][1]
    if shared is not None:
        return np.array_equal(first[shared], second[shared])
    return all(first[name].shape == second[name].shape for name in first)


def paired(first: Estimate, second: Estimate) -> Difference | None:
    """The difference on the same samples; None where a figure is not defined.

    Its standard error is that of the differences of influences, sample by sample (cluster by
    cluster in retrieval). Of samples that are right or wrong, p is McNemar's exact one: of those
    that the models differ on, each is as likely to be won by either. Else it is the normal
    distribution's.
    """
    if first.influences is None or second.influences is None:
        return None
    assert first.value is not None
    assert second.value is not None
    error = standard_error(second.influences - first.influences)
    difference = second.value - first.value
    p_value, test = two_sided(difference, error), "paired"
    if first.values is not None and second.values is not None and (
            np.isin([first.values, second.values], (0, 1)).all()):
        won = int((second.values > first.values).sum())
        lost = int((second.values < first.values).sum())
        p_value, test = mcnemar(won, lost), "McNemar"
    return Difference(first.value, second.value, error, p_value, test)


def unpaired(first: Figure, second: Figure) -> Difference | None:
    """The difference as if of different samples; None where a figure is not defined.

    A figure without a standard error counts as sure as the other one.
    """
    if first.value is None or second.value is None:
        return None
    errors = [each.standard_error for each in (first, second) if each.standard_error is not None]
    if not errors:
        return Difference(first.value, second.value, None, None, "unpaired")
    error = math.hypot(errors[0], errors[-1])
    p_value = two_sided(second.value - first.value, error)
    return Difference(first.value, second.value, error, p_value, "unpaired")


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: Binomial(won + lost, 1/2), both tails."""
    total = won + lost
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    tail = np.arange(min(won, lost) + 1)
    log_terms = logs[total] - logs[tail] - logs[total - tail] - total * math.log(2)
    return min(1.0, 2 * float(np.exp(log_terms).sum()))


def two_sided(difference: float, error: float) -> float:
    """p of a difference under the normal distribution."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number (Holm 1979), in the same order."""
    adjusted, highest = [1.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[number]))
        adjusted[number] = highest
    return adjusted
