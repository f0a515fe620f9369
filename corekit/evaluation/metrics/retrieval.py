"""Figures of retrieval, from the stored ranks of a set."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corekit.evaluation.metrics.recall import hit_chances
from corekit.evaluation.metrics.uncertainty import from_influences, mean_figure
from corekit.evaluation.suite.figure import Figures, Predictions

AT = (1, 5, 10)


def retrieval_figures(predictions: Predictions) -> Figures:
    """Recall at 1, 5 and 10 from images to captions and back, and the mean of both at 1.

    Where scores are equal, a query counts with its mean over all orders of the equal ones. The
    captions of an image are alike, so standard errors of what counts captions are of images as
    clusters.

    Args:
        predictions: ``image_above``, ``image_tied``, ``image_right`` [images], ``text_above``,
            ``text_tied`` and ``text_owner`` [captions], the image of each.
    """
    of_image = [_tensor(predictions[f"image_{name}"]) for name in ("above", "tied", "right")]
    of_text = [_tensor(predictions[f"text_{name}"]) for name in ("above", "tied")]
    owner: NDArray[np.int64] = np.asarray(predictions["text_owner"], dtype=np.int64)
    images, captions = len(of_image[0]), len(owner)
    figures: Figures = {}
    if not images:
        return figures
    for k in AT:
        hit = hit_chances(k, *of_image).numpy()
        figures[f"image_to_text_r{k}"] = mean_figure(hit)
        found = hit_chances(k, *of_text, torch.ones_like(of_text[0])).numpy()
        recall = float(found.mean())
        # what an image's weight adds to the mean over captions
        influence = np.bincount(owner, found - recall, images) / captions
        figures[f"text_to_image_r{k}"] = from_influences(recall, captions, influence)
        if k == 1:
            both = (hit - hit.mean()) / images + influence
            mean = (float(hit.mean()) + recall) / 2
            figures["mean_r1"] = from_influences(mean, images, both / 2)
    return figures


def _tensor(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.int64))
