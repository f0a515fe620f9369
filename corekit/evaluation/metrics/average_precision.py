"""Exact average precision of many classes, from scores of one block of classes at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from corekit.errors import CorekitError


def average_precision(scores: Tensor, hits: Tensor) -> Tensor:
    """Average precision of each column: precision times the gained recall, over thresholds.

    Every score is a threshold, and equal scores are one, so that the order among them does not
    matter (as scikit-learn's ``average_precision_score``). Scores [N, C] and bool hits [N, C] give
    float64 [C]; nan for a column without hits.
    """
    ordered, order = scores.sort(0, descending=True)
    hit = hits.gather(0, order)
    place = torch.arange(len(scores), device=scores.device)[:, None]
    ends = torch.ones_like(hit)
    ends[:-1] = ordered[:-1] != ordered[1:]
    # the last place that has the same score
    end = place.where(ends, len(scores) - 1).flip(0).cummin(0).values.flip(0)
    precision = hit.cumsum(0).gather(0, end).double() / (end + 1)
    return (precision * hit).sum(0) / hit.sum(0)


def mean_average_precisions(scores: Callable[[int, int], Tensor], classes: int, sample: Tensor,
                            row: Tensor, block: int) -> tuple[dict[str, float], int]:
    """``map_macro``, ``map_micro``, ``map_weighted``, and the number of classes they are over.

    Macro is the mean over classes and weighted the mean by numbers of positives, both over the
    classes that have any: of one without, average precision is not defined. Micro is the average
    precision of all pairs of sample and class as one ranking. [N, K] is never held: each block of
    scores is made twice, once to rank it, once to count how many of its scores are as high as each
    positive's, which is all that the micro average needs to know of the negatives.

    Args:
        scores: (first, last) -> [N, last - first], of the classes from ``first`` up to ``last``;
            the same numbers each time.
        classes: K.
        sample, row: int64 [P], the positives: which sample has which class. No pair is there twice.
        block: classes at one time.

    Raises:
        CorekitError: there are no positives, or a score is not finite.
    """
    if not len(row):
        raise CorekitError("no sample of an evaluator's data set has a label, so that there is no "
                           "average precision")
    precisions: list[Tensor] = []
    of_positives: list[Tensor] = []
    for first in range(0, classes, block):
        of_block = scores(first, min(first + block, classes))
        if not of_block.isfinite().all():
            raise CorekitError("a score of the model is not finite, so that it cannot be ranked")
        inside = (row >= first) & (row < first + block)
        positives = sample[inside], row[inside] - first
        hits = torch.zeros_like(of_block, dtype=torch.bool)
        hits[positives] = True
        precisions.append(average_precision(of_block, hits))
        of_positives.append(of_block[positives])
    micro = _micro(scores, classes, block, torch.cat(of_positives))
    precision = torch.cat(precisions)
    weight = torch.bincount(row, minlength=classes)
    precision, weight = precision[weight > 0], weight[weight > 0]
    return {"map_macro": float(precision.mean()), "map_micro": micro,
            "map_weighted": float((precision * weight).sum() / len(row))}, len(weight)


def _micro(scores: Callable[[int, int], Tensor], classes: int, block: int,
           of_positives: Tensor) -> float:
    """Average precision of all pairs as one ranking, of the positives' scores [P]."""
    thresholds, own = torch.unique(of_positives, return_counts=True)  # ascending
    counts = torch.zeros(len(thresholds) + 1, dtype=torch.int64, device=own.device)
    for first in range(0, classes, block):
        of_block = scores(first, min(first + block, classes)).contiguous()
        reached = torch.searchsorted(thresholds, of_block, right=True)
        counts += reached.flatten().bincount(minlength=len(counts))
    # as high as each threshold
    positives, everything = (each.flip(0).cumsum(0).flip(0) for each in (own, counts[1:]))
    return float((own * positives.double() / everything).sum() / len(of_positives))
