"""Intersection over union of classes of pixels, from one matrix of counts."""

import torch
from torch import Tensor

from corekit.data.segmentation import IGNORED
from corekit.errors import CorekitError


def count_pixels(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """int64 [K, K]: how many pixels of each class (row) got each class (column); additive.

    Both are whole numbers of the same shape. Pixels labelled 255 are left out.

    Raises:
        CorekitError: a label is no class of the model.
    """
    prediction, label = prediction.flatten().long(), label.flatten().long()
    counts = label != IGNORED
    prediction, label = prediction[counts], label[counts]
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < classes:
        wrong = label[(label < 0) | (label >= classes)]
        raise CorekitError(f"a pixel has the label {int(wrong[0])}, but the model has {classes} "
                           "classes; 255 are pixels without a label")
    return torch.bincount(label * classes + prediction, minlength=classes**2).view(classes, classes)


def intersection_over_union(counts: Tensor) -> Tensor:
    """float64 [K] of the counts; nan for a class that is neither labelled nor predicted."""
    right = counts.diagonal()
    return right.double() / (counts.sum(0) + counts.sum(1) - right)


def figures(counts: Tensor) -> dict[str, float]:
    """``mean_iou``, over the classes that are anywhere, and ``pixel_accuracy``."""
    total = int(counts.sum())
    if not total:
        raise CorekitError("the data set of an evaluator holds no pixel with a label")
    ious = intersection_over_union(counts)
    return {"mean_iou": float(ious[~ious.isnan()].mean()),
            "pixel_accuracy": int(counts.diagonal().sum()) / total}
