"""What the sets of a suite have in common: a folder that is opened and checked, then predicted."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Source
from corekit.evaluation.base import EvalModel
from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.text_features import TextFeatures

Arrays = dict[str, NDArray[np.generic]]


class Task(Protocol):
    """The contract of kind ``task``: a set in a folder, opened, checked and not yet predicted.

    Its constructor gets ``folder``, ``eval_set`` and ``batch_size``, and raises a CorekitError
    where the folder is not the set that the table describes.
    """

    source: Source
    names: Sequence[str]  # of classes; none where there are no classes
    templates: Sequence[str]

    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """What is kept of the set's samples, the same on every rank."""
        ...

    def figures(self, predictions: Predictions) -> Figures:
        """The figures of predictions; a pure function."""
        ...

    def count(self, predictions: Predictions) -> int:
        """How many samples were predicted."""
        ...
