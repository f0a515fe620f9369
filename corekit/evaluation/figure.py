"""A figure of an evaluation: a value, of how many samples it is, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Predictions = Mapping[str, NDArray[np.generic]]  # what a task keeps of a set's samples, by name


@dataclass(frozen=True)
class Figure:
    """A figure and its standard error, both fractions of 1; None where it is not defined."""

    value: float | None
    samples: int  # that it is the mean of, or of the group that it is of
    standard_error: float | None = None


Figures = dict[str, Figure]
