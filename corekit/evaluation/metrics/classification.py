"""Figures of single-label classification, from the stored predictions of a set."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.uncertainty import (
    NONE,
    Estimate,
    Estimates,
    Values,
    figures_of,
    mean_of,
)

LEAST_OF_GROUP = 100  # samples, below which a group does not count in the figures "of_100"
Integers = NDArray[np.int64]


def classification_figures(predictions: Predictions, group: int | None = None) -> Figures:
    """The figures of ``classification_estimates``."""
    return figures_of(classification_estimates(predictions, group))


def classification_estimates(predictions: Predictions, group: int | None = None) -> Estimates:
    """Top-1, top-5, recall and F1 over classes, and figures of groups.

    Every figure is of the same prediction, the first of ``best``. ``top5`` is None below five
    classes. ``ties`` is the share of samples where another class has the same score as the best,
    so that the order of classes decides.

    Args:
        predictions: ``label`` [N], ``best`` [N, 5 or fewer], ``tied`` [N], ``classes`` [], and
            ``metadata`` [N, M] where there are groups.
        group: the column of ``metadata`` that has a sample's group.
    """
    label: Integers = np.asarray(predictions["label"], dtype=np.int64)
    best: Integers = np.asarray(predictions["best"], dtype=np.int64)
    hits = {"top1": best[:, 0] == label}
    if int(predictions["classes"]) >= 5:
        hits["top5"] = (best == label[:, None]).any(1)
    estimates = {name: mean_of(hit) for name, hit in hits.items()}
    estimates.setdefault("top5", Estimate(None, len(label)))
    if len(label):
        estimates["mean_per_class_recall"] = mean_per_class_recall(label, hits["top1"])
        estimates["f1_macro"] = f1_macro(label, best[:, 0])
    estimates["ties"] = mean_of(predictions["tied"])
    if group is not None:
        of_group: Integers = np.asarray(predictions["metadata"], dtype=np.int64)[:, group]
        for name, hit in hits.items():
            estimates |= group_estimates(name, hit, of_group)
    return estimates


def mean_per_class_recall(label: Integers, hit: Values) -> Estimate:
    """The mean of recalls over the classes that occur among the labels.

    Its variance is that of a stratified mean: recall's, p (1 - p) / (n - 1) for n samples of a
    class, added up over classes and divided by their number squared. A class with one sample takes
    the mean variance of a sample of the others.
    """
    count = np.bincount(label)
    occurs = count > 0
    classes = int(occurs.sum())
    recall = np.bincount(label, hit) / np.maximum(count, 1)
    several = count > 1
    correction = np.sqrt(count / np.maximum(count - 1, 1))
    influences = (correction / np.maximum(count, 1))[label] * (hit - recall[label]) / classes
    of_sample = recall * (1 - recall) * correction**2
    overall = float(hit.mean()) * (1 - float(hit.mean()))
    of_others = float(of_sample[several].mean()) if several.any() else overall
    variances = np.where(several, of_sample, of_others)[occurs] / count[occurs]
    return Estimate(float(recall[occurs].mean()), len(label), influences,
                    standard_error=float(np.sqrt(variances.sum())) / classes)


def f1_macro(label: Integers, prediction: Integers) -> Estimate:
    """The mean of F1 = 2 TP / (labelled + predicted) over the classes that occur among the labels.

    Its standard error is the infinitesimal jackknife's.
    """
    classes = int(max(label.max(), prediction.max())) + 1
    labelled = np.bincount(label, minlength=classes)
    total = labelled + np.bincount(prediction, minlength=classes)
    right = np.bincount(label[label == prediction], minlength=classes)
    f1 = 2 * right / np.maximum(total, 1)
    occurs = labelled > 0
    # what a sample's weight adds to F1 of the class that it has, and of the one that it is given
    weight = occurs / np.maximum(total, 1) / int(occurs.sum())
    influences = (2 * weight[label] * (label == prediction) - (f1 * weight)[label]
                  - (f1 * weight)[prediction])
    return Estimate(float(f1[occurs].mean()), len(label), influences)


def group_estimates(name: str, hit: Values, group: Integers) -> Estimates:
    """A figure for each group that has samples, and the lowest of them.

    The lowest one counts every group however small, which is the published rule; the one ``of_100``
    leaves out groups of fewer than 100 samples. Each has the samples and the standard error of its
    group alone: that a minimum of several noisy figures is too low is not in it.
    """
    groups = {int(number): mean_of(hit[group == number]) for number in np.unique(group)}
    large = [number for number, each in groups.items() if each.samples >= LEAST_OF_GROUP]

    def lowest(numbers: Iterable[int]) -> Estimate:
        """That of the group of the lowest figure, the first of equals, among all samples."""
        worst = min(numbers, key=lambda number: groups[number].value or 0.0, default=None)
        return NONE if worst is None else mean_of(hit, group == worst)

    return {**{f"{name}_group_{number}": each for number, each in groups.items()},
            f"worst_group_{name}": lowest(groups),
            f"worst_group_{name}_of_100": lowest(large)}
