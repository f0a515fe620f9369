"""Figures of retrieval, from the stored ranks of a set."""

import numpy as np
from numpy.typing import NDArray

from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.uncertainty import (
    Estimate,
    Estimates,
    Floats,
    figures_of,
    mean_of,
)

AT = (1, 5, 10)
Integers = NDArray[np.int64]


def retrieval_figures(predictions: Predictions) -> Figures:
    """The figures of ``retrieval_estimates``."""
    return figures_of(retrieval_estimates(predictions))


def retrieval_estimates(predictions: Predictions) -> Estimates:
    """Recall at 1, 5 and 10 from images to captions and back, and the mean of both at 1.

    Where scores are equal, a query counts with its mean over all orders of the equal ones. The
    captions of an image are alike, so standard errors of what counts captions are of images as
    clusters.

    Args:
        predictions: ``image_above``, ``image_tied``, ``image_right`` [images], ``text_above``,
            ``text_tied`` and ``text_owner`` [captions], the image of each.
    """
    of = {name: np.asarray(values, dtype=np.int64) for name, values in predictions.items()}
    images, owner = len(of["image_above"]), of["text_owner"]
    estimates: Estimates = {}
    for k in AT:
        of_images = hit_chances(k, of["image_above"], of["image_tied"], of["image_right"])
        of_captions = hit_chances(k, of["text_above"], of["text_tied"], np.ones_like(owner))
        recall = float(of_captions.mean())
        # what an image's weight adds to the mean over captions
        influences = np.bincount(owner, of_captions - recall, images) / len(owner)
        estimates[f"image_to_text_r{k}"] = mean_of(of_images)
        estimates[f"text_to_image_r{k}"] = Estimate(recall, len(owner), influences)
        if k == 1:
            mean = float(of_images.mean())
            both = (of_images - mean) / images + influences
            estimates["mean_r1"] = Estimate((mean + recall) / 2, images, both / 2)
    return estimates


def hit_chances(k: int, above: Integers, tied: Integers, right: Integers) -> Floats:
    """Of each query, how probable a right answer among the first k is: [queries].

    A query's first places go to the ``above`` wrong answers, the next to ``tied`` wrong and
    ``right`` right ones in any order. With s places left for these, none of the right ones is among
    them with probability C(tied, s) / C(tied + right, s) = product over i = 1 ... right of
    (tied - s + i) / (tied + i), or 0.
    """
    places = np.maximum(k - above, 0)
    missed = np.ones(len(above))
    for i in range(1, int(right.max()) + 1):
        missed *= np.where(right >= i, np.maximum((tied - places + i) / (tied + i), 0.0), 1.0)
    return 1 - missed
