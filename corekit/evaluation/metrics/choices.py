"""Figures of choices among candidates, from the stored predictions of a set."""

import numpy as np

from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.ties import TIE
from corekit.evaluation.metrics.uncertainty import Estimates, Floats, figures_of, mean_of

CANDIDATES = {"5": (5,), "6": (6,), "10": (10,), "12": (12,), "5_6": (5, 6), "10_12": (10, 12)}


def selection_figures(predictions: Predictions) -> Figures:
    """The figures of ``selection_estimates``."""
    return figures_of(selection_estimates(predictions))


def matching_figures(predictions: Predictions) -> Figures:
    """The figures of ``matching_estimates``."""
    return figures_of(matching_estimates(predictions))


def winogavil_figures(predictions: Predictions) -> Figures:
    """The figures of ``winogavil_estimates``."""
    return figures_of(winogavil_estimates(predictions))


def selection_estimates(predictions: Predictions) -> Estimates:
    """How often the best right caption of a picture scores above all wrong ones: ``accuracy``.

    Where ``tied`` wrong ones score the same as it and none ``above``, the instance counts
    1 / (tied + 1), as if one of the equal ones were drawn.
    """
    above, tied = predictions["above"], np.asarray(predictions["tied"], dtype=np.int64)
    return {"accuracy": mean_of((above == 0) / (tied + 1)),
            "ties": mean_of((above == 0) & (tied > 0))}


def matching_estimates(predictions: Predictions) -> Estimates:
    """Winoground's accuracies of two pictures and their captions (Thrush et al. 2022, section 4).

    Text: each picture's own caption scores above the other caption. Image: each caption's own
    picture scores above the other picture. Group: both. An instance counts for them with the
    probability that all of its comparisons come out right if each tie is drawn: 1/2 a tie.

    Args:
        predictions: ``scores`` [N, 2, 2], of picture i with caption j.
    """
    scores = np.asarray(predictions["scores"], dtype=np.float64)
    own = scores[:, [0, 1], [0, 1]]
    text = _wins(own, scores[:, [0, 1], [1, 0]])  # of each picture against the other caption
    image = _wins(own, scores[:, [1, 0], [0, 1]])  # of each caption against the other picture
    return {"text_accuracy": mean_of(text.prod(1)), "image_accuracy": mean_of(image.prod(1)),
            "group_accuracy": mean_of(text.prod(1) * image.prod(1)),
            "ties": mean_of((text == 0.5).any(1) | (image == 0.5).any(1))}


def winogavil_estimates(predictions: Predictions) -> Estimates:
    """WinoGAViL's Jaccard index of chosen and right pictures (Bitton et al. 2022, section 4).

    ``jaccard`` is over all instances, the others over those with so many candidates; None where
    there are none. Predictions: ``jaccard``, ``candidates`` and ``tied`` [N].
    """
    jaccard, candidates = predictions["jaccard"], predictions["candidates"]
    of_candidates = {f"jaccard_{name}": mean_of(jaccard, np.isin(candidates, counts))
                     for name, counts in CANDIDATES.items()}
    return {"jaccard": mean_of(jaccard), **of_candidates, "ties": mean_of(predictions["tied"])}


def _wins(own: Floats, other: Floats) -> Floats:
    """1 where the first scores above the second, 1/2 where they are equal, else 0."""
    ahead = own - other
    return np.where(np.abs(ahead) <= TIE, 0.5, ahead > 0)
