"""Estimates of figures with what each sample adds to them: standard errors and 95 % intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corekit.evaluation.figure import Figure, Figures

QUANTILE = 1.959963984540054  # of the normal distribution at 97.5 %
Floats = NDArray[np.float64]
Values = NDArray[Any]  # of samples: numbers between 0 and 1, or true and false


@dataclass(frozen=True)
class Estimate:
    """A figure of samples, and how sure it is.

    Attributes:
        value: None where it is not defined.
        samples: that it is of.
        influences: derivatives of the value by the weights of independent samples, or of clusters
            of samples that are not independent. Their squares add up to its variance, as do those
            of a difference of two estimates on the same samples.
        values: of each sample, where the figure is their mean.
        standard_error: another one than that of the influences.
    """

    value: float | None
    samples: int
    influences: Floats | None = None
    values: Floats | None = None
    standard_error: float | None = None

    def figure(self) -> Figure:
        """Without what is of single samples."""
        error = self.standard_error
        if error is None and self.influences is not None:
            error = standard_error(self.influences)
        return Figure(self.value, self.samples, error)


Estimates = dict[str, Estimate]
NONE = Estimate(None, 0)


def figures_of(estimates: Mapping[str, Estimate]) -> Figures:
    """The figures of estimates."""
    return {name: estimate.figure() for name, estimate in estimates.items()}


def standard_error(influences: Floats) -> float:
    """The infinitesimal jackknife's (Efron 1982, chapter 6)."""
    return float(np.sqrt(np.sum(influences**2)))


def mean_of(values: ArrayLike, among: NDArray[np.bool_] | None = None) -> Estimate:
    """The mean of values between 0 and 1, of all samples or of some; NONE where there are none.

    Its standard error is deviation / sqrt(samples), which for values of 0 and 1 is that of a
    binomial share.
    """
    of_samples = np.asarray(values, dtype=np.float64)
    counted = of_samples if among is None else of_samples[among]
    count = len(counted)
    if not count:
        return NONE
    mean = math.fsum(counted.tolist()) / count  # the same bits on every machine
    influences = (counted - mean) / count
    if among is None:
        return Estimate(mean, count, influences, of_samples)
    of_all = np.zeros(len(of_samples))
    of_all[among] = influences
    return Estimate(mean, count, of_all)


def interval(figure: Figure) -> tuple[float, float] | None:
    """The 95 % interval of a figure; None where it has no standard error.

    It is Wilson's score interval for the number of samples that a binomial share would need for the
    figure's standard error, so that it also holds near 0 and 1, where value +- 1.96 standard errors
    does not. For a binomial share that is the figure's own number.
    """
    if figure.value is None or figure.standard_error is None:
        return None
    spread, variance = figure.value * (1 - figure.value), figure.standard_error**2
    if spread > 0 and variance == 0:  # all samples have the same value, between 0 and 1
        return figure.value, figure.value
    samples = spread / variance if variance > 0 else figure.samples
    weight = QUANTILE**2 / samples
    centre = (figure.value + weight / 2) / (1 + weight)
    half = QUANTILE / (1 + weight) * math.sqrt(spread / samples + weight / samples / 4)
    return max(0.0, centre - half), min(1.0, centre + half)
