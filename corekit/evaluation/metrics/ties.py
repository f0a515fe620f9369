"""The one rule of prediction: the highest scores win, and of equal ones the first class."""

from torch import Tensor

TIE = 1e-6  # cosines no further apart are equal: rounding leaves so much of equal features


def best_classes(scores: Tensor, k: int = 5) -> Tensor:
    """The k classes of highest score, best first: int64 [n, k] of scores [n, K], or [n, K].

    Of equal scores the first class comes first, on every device. ``topk`` alone promises no order
    among equals, so rows that hold some are sorted.
    """
    classes = scores.shape[1]
    k = min(k, classes)
    highest, best = scores.topk(min(k + 1, classes))
    has_equal = (~(highest[:, :-1] > highest[:, 1:])).any(1)
    if has_equal.any():
        rows = scores[has_equal] + 0.0  # -0.0 is the same score as 0.0
        order = rows.sort(dim=1, descending=True, stable=True).indices
        best[has_equal] = order[:, :best.shape[1]]
    return best[:, :k]


def decided_by_tie(scores: Tensor) -> Tensor:
    """Whether another class has the same score as the best: bool [n] of scores [n, K]."""
    return (scores == scores.amax(1, keepdim=True)).sum(1) > 1
