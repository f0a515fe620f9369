"""Mean average precision of a multi-label set, from its stored scores."""

import numpy as np

from corekit.errors import CorekitError
from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.uncertainty import (
    Estimate,
    Estimates,
    Floats,
    Values,
    figures_of,
)


def multi_label_figures(predictions: Predictions) -> Figures:
    """The figures of ``multi_label_estimates``."""
    return figures_of(multi_label_estimates(predictions))


def multi_label_estimates(predictions: Predictions) -> Estimates:
    """``map_macro``: the mean of average precision over the classes that have a positive.

    It is CLIP_benchmark's ``mean_average_precision`` where every class has one (there a class
    without counts as 0) and no scores are equal (there their order decides). Equal scores are one
    threshold here. The standard error is the infinitesimal jackknife's.

    Args:
        predictions: ``scores`` [N, K] and ``targets`` [N, K] of 0 and 1.

    Raises:
        CorekitError: no sample has a class.
    """
    scores, targets = predictions["scores"], np.asarray(predictions["targets"], dtype=np.float64)
    columns = np.flatnonzero(targets.any(0))
    if not len(columns):
        raise CorekitError("no sample of a multi-label set has a class, so that there is no "
                           "average precision")
    total = 0.0
    influences = np.zeros(len(scores))
    for column in columns:
        precision, influence = average_precision(scores[:, column], targets[:, column])
        total += precision
        influences += influence
    count = len(columns)
    return {"map_macro": Estimate(total / count, len(scores), influences / count)}


def average_precision(scores: Values, hit: Floats) -> tuple[float, Floats]:
    """Average precision of one class, and its derivative by each sample's weight: [N] and [N].

    With precision p = TP / n among the n samples that score as high as a positive, average
    precision is the mean of p over positives. A sample's weight adds to the mean if it is positive,
    and to TP and n of all positives that score no higher.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], hit[order]
    first = np.searchsorted(-ordered, -ordered, side="left")  # of those with the same score
    last = np.searchsorted(-ordered, -ordered, side="right")
    precision = np.cumsum(hit)[last - 1] / last
    positives = hit.sum()
    mean = float(hit @ precision / positives)
    gain, loss = (np.cumsum(each[::-1])[::-1][first] for each in
                  (hit / last, hit * precision / last))
    influence = np.empty(len(scores))
    influence[order] = (hit * (precision - mean + gain) - loss) / positives
    return mean, influence
