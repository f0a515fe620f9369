"""Figures of single-label classification, from the stored predictions of a set."""

import numpy as np
from numpy.typing import NDArray

from corekit.evaluation.metrics.uncertainty import from_influences, mean_figure
from corekit.evaluation.suite.figure import Figure, Figures, Predictions

LEAST_OF_GROUP = 100  # samples, below which a group does not count in the figures "of_100"
Integers = NDArray[np.int64]


def classification_figures(predictions: Predictions, group: int | None = None) -> Figures:
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
    figures = {name: mean_figure(values) for name, values in hits.items()}
    figures.setdefault("top5", Figure(None, len(label)))
    if len(label):
        figures["mean_per_class_recall"] = mean_per_class_recall(label, hits["top1"])
        figures["f1_macro"] = f1_macro(label, best[:, 0])
    figures["ties"] = mean_figure(predictions["tied"])
    if group is not None:
        of_group: Integers = np.asarray(predictions["metadata"], dtype=np.int64)[:, group]
        for name, values in hits.items():
            figures |= group_figures(name, values, of_group)
    return figures


def mean_per_class_recall(label: Integers, hit: NDArray[np.bool_]) -> Figure:
    """The mean of recalls over the classes that occur among the labels.

    Its variance is that of a stratified mean: recall's, p (1 - p) / (n - 1) for n samples of a
    class, added up over classes and divided by their number squared. A class with one sample takes
    the mean variance of a sample of the others.
    """
    count = np.bincount(label)
    right = np.bincount(label, hit)[count > 0]
    count = count[count > 0]
    recall = right / count
    of_sample = recall * (1 - recall) * count / np.maximum(count - 1, 1)
    overall = float(hit.mean()) * (1 - float(hit.mean()))
    of_others = float(of_sample[count > 1].mean()) if (count > 1).any() else overall
    of_sample = np.where(count > 1, of_sample, of_others)
    error = float(np.sqrt(np.sum(of_sample / count))) / len(count)
    return Figure(float(recall.mean()), len(label), error)


def f1_macro(label: Integers, prediction: Integers) -> Figure:
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
    influence = (2 * weight[label] * (label == prediction) - (f1 * weight)[label]
                 - (f1 * weight)[prediction])
    return from_influences(float(f1[occurs].mean()), len(label), influence)


def group_figures(name: str, hit: NDArray[np.bool_], group: Integers) -> Figures:
    """A figure for each group that has samples, and the lowest of them.

    The lowest one counts every group however small, which is the published rule; the one ``of_100``
    leaves out groups of fewer than 100 samples. Each has the samples and the standard error of its
    group alone: that a minimum of several noisy figures is too low is not in it.
    """
    groups = {f"{name}_group_{number}": mean_figure(hit[group == number])
              for number in np.unique(group)}
    large = [figure for figure in groups.values() if figure.samples >= LEAST_OF_GROUP]
    return {**groups, f"worst_group_{name}": lowest(list(groups.values())),
            f"worst_group_{name}_of_100": lowest(large)}


def lowest(figures: list[Figure]) -> Figure:
    """The figure of the lowest value, the first of equals."""
    return min(figures, key=lambda each: each.value or 0.0, default=Figure(None, 0))
