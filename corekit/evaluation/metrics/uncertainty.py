"""Standard errors of figures, and their 95 % intervals."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corekit.evaluation.suite.figure import Figure

QUANTILE = 1.959963984540054  # of the normal distribution at 97.5 %


def mean_figure(values: ArrayLike) -> Figure:
    """The mean of values between 0 and 1, one of each sample; None where there are none.

    Its standard error is deviation / sqrt(samples), which for values of 0 and 1 is that of a
    binomial share.
    """
    of_samples = np.asarray(values, dtype=np.float64)
    count = len(of_samples)
    if not count:
        return Figure(None, 0)
    mean = math.fsum(of_samples) / count
    return Figure(mean, count, float(np.sqrt(np.mean((of_samples - mean)**2) / count)))


def from_influences(value: float, samples: int, influences: NDArray[np.float64]) -> Figure:
    """A figure whose standard error is the infinitesimal jackknife's.

    ``influences`` are the derivatives of the figure by the weights of independent samples, or of
    clusters of samples that are not independent: their squares add up to its variance.
    """
    count = len(influences)
    correction = count / (count - 1) if count > 1 else 1.0
    return Figure(value, samples, float(np.sqrt(correction * np.sum(influences**2))))


def interval(figure: Figure) -> tuple[float, float] | None:
    """The 95 % interval of a figure; None where it has no standard error.

    It is Wilson's score interval for the number of samples that a binomial share would need for the
    figure's standard error, so that it also holds near 0 and 1, where value +- 1.96 standard errors
    does not. For a binomial share that is the figure's own number.
    """
    if figure.value is None or figure.standard_error is None:
        return None
    spread, variance = figure.value * (1 - figure.value), figure.standard_error**2
    samples = spread / variance if variance > 0 else figure.samples
    if spread > 0 and variance == 0:  # all samples have the same value, between 0 and 1
        return figure.value, figure.value
    weight = QUANTILE**2 / samples
    centre = (figure.value + weight / 2) / (1 + weight)
    half = QUANTILE / (1 + weight) * math.sqrt(spread / samples + weight / samples / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
