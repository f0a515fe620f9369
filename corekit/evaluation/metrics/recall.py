"""Recall at k of retrieval, where scores may be equal."""

import torch
from torch import Tensor


def recall_at(k: int, above: Tensor, tied: Tensor, right: Tensor) -> float:
    """The share of queries with a right answer among the first k, averaged over orders of ties."""
    return float(hit_chances(k, above, tied, right).mean())


def hit_chances(k: int, above: Tensor, tied: Tensor, right: Tensor) -> Tensor:
    """Of each query, how probable a right answer among the first k is: float64 [queries].

    A query's first places go to the ``above`` wrong answers, the next to ``tied`` wrong and
    ``right`` right ones in any order: whole numbers [queries]. With s places left for these, none
    of the right ones is among them with probability C(tied, s) / C(tied + right, s) = product over
    i = 1 ... right of (tied - s + i) / (tied + i), or 0.
    """
    above, tied, right = above.cpu().double(), tied.cpu().double(), right.cpu()
    places = (k - above).clamp(min=0)
    missed = torch.ones_like(above)
    for i in range(1, int(right.max()) + 1 if len(right) else 1):
        missed *= torch.where(right >= i, ((tied - places + i) / (tied + i)).clamp(min=0), 1.0)
    return 1 - missed
