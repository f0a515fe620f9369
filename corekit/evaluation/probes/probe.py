"""What probes share: the points of a grid, what each of them reaches, and the best one."""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.features import check_field

Points = list[tuple[float, float]]  # learning rate and weight decay
Score = dict[str, float | None]  # of a point, as the record has it


def check_probe(evaluator: str, datasets: dict[str, Source | None], learning_rates: Sequence[float],
                weight_decays: Sequence[float], validation_fraction: float, warmup_fraction: float,
                **counts: int) -> Points:
    """The grid: every learning rate with every weight decay.

    Raises:
        CorekitError: a data set has no labels, or an argument is out of range.
    """
    for name, each in datasets.items():
        if each is not None:
            check_field(evaluator, name, each, "label")
    rates_fit = learning_rates and min(learning_rates) > 0
    if not (rates_fit and weight_decays and min(weight_decays) >= 0):
        raise CorekitError(f"evaluator '{evaluator}' needs learning_rates above 0 and "
                           "weight_decays of 0 or more")
    if not 0 < validation_fraction < 1 or not 0 <= warmup_fraction <= 1:
        raise CorekitError(f"evaluator '{evaluator}' needs validation_fraction between 0 and 1, "
                           "and so warmup_fraction")
    if min(counts.values()) < 1:
        *others, last = counts
        raise CorekitError(f"evaluator '{evaluator}' needs {', '.join(others)} and {last} of 1 or "
                           "more")
    return [(rate, decay) for rate in learning_rates for decay in weight_decays]


def scores(points: Points, hits: Tensor, losses: Tensor, samples: int) -> list[Score]:
    """What each point reaches on the validation samples, as the record has it.

    Args:
        points: G of them.
        hits: [G], samples whose class was guessed.
        losses: [G], cross-entropy added up over the samples.
        samples: how many there are.
    """
    return [{"learning_rate": rate, "weight_decay": decay, "validation_top1": hit / samples,
             "validation_loss": loss / samples if math.isfinite(loss) else None}
            for (rate, decay), hit, loss in zip(points, hits.tolist(), losses.tolist())]


def best(of_points: Sequence[Score]) -> int:
    """Which of the scores is the best."""
    return max(range(len(of_points)), key=lambda point: rank(of_points[point]))


def rank(score: Score) -> tuple[bool, float, float]:
    """Greater for the better head: by accuracy, then by loss; one that diverged is the last."""
    loss = score["validation_loss"]
    return loss is not None, score["validation_top1"] or 0.0, -(loss or 0.0)


def best_classes(logits: Tensor) -> Tensor:
    """The five highest classes or fewer: int64 [n, 5] of logits [n, K]."""
    return logits.topk(min(5, logits.shape[1])).indices


def shuffled(count: int, seed: int) -> Tensor:
    """0 to count - 1 in an order that the seed decides."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, equal for bit-identical models."""
    sha256 = hashlib.sha256()
    for name, value in sorted([*model.named_parameters(), *model.named_buffers()],
                              key=lambda each: each[0]):
        sha256.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        sha256.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()
