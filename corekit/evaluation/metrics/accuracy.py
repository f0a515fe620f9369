"""Figures of classifiers: top-1, top-5 and mean per-class recall."""

import torch
from torch import Tensor

from corekit.errors import CorekitError


def count_hits(best: Tensor, label: Tensor, classes: int) -> Tensor:
    """Samples, top-1 hits and top-5 hits of every class: int64 [3, K], additive over batches.

    ``best`` int64 [n, 5 or fewer] are the classes with the highest scores, best first, and
    ``label`` int64 [n] the right ones.
    """
    hits = torch.stack([torch.ones_like(label), best[:, 0] == label,
                        (best == label[:, None]).any(1)])
    counts = torch.zeros(3, classes, dtype=torch.int64, device=label.device)
    return counts.index_add_(1, label, hits.to(torch.int64))


def figures(hits: Tensor) -> dict[str, float]:
    """``top1``, ``top5`` and ``mean_per_class_recall`` of the counts of samples, [3, K].

    Of fewer than five classes there is no ``top5``: it would be 1 whatever the model gives.
    """
    count, top1, top5 = hits.cpu()
    present = count > 0
    total = int(count.sum())
    if not total:
        raise CorekitError("the data set of an evaluator holds no sample that can be read")
    among_five = {"top5": int(top5.sum()) / total} if len(count) >= 5 else {}
    return {"top1": int(top1.sum()) / total, **among_five,
            "mean_per_class_recall": float((top1[present].double() / count[present]).mean())}


def accuracy(best: Tensor, label: Tensor) -> dict[str, float]:
    """The figures of guesses int64 [N, 5 or fewer] at labels int64 [N]."""
    labelled = int(label.max()) + 1 if len(label) else 0
    return figures(count_hits(best, label, max(labelled, best.shape[1])))
