"""What probes share: their arguments, what each point of the grid reaches, and the best one."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.features import check_field
from corekit.seeds import derive_seed

Points = list[tuple[float, float]]  # learning rate and weight decay
Score = dict[str, float | None]  # of a point, as the record has it


@dataclass
class Probe:
    """The arguments that every probe takes; ``points`` is each learning rate with each decay.

    Raises:
        CorekitError: a data set has no labels, or an argument is out of range.
    """

    NAME: ClassVar[str]  # of the evaluator
    COUNTS: ClassVar[tuple[str, ...]] = ("epochs", "batch_size", "forward_batch_size")

    dataset: Source
    train_dataset: Source
    validation_dataset: Source | None = None
    validation_fraction: float = 0.1
    features: str | None = None
    learning_rates: Sequence[float] = ()  # each probe has its own
    weight_decays: Sequence[float] = (0.0, 0.1)
    epochs: int = 100
    batch_size: int = 1024
    warmup_fraction: float = 0.05
    forward_batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dataset", "train_dataset", "validation_dataset"):
            dataset: Source | None = getattr(self, name)
            if dataset is not None:
                check_field(self.NAME, name, dataset, "label")
        needs = f"evaluator '{self.NAME}' needs"
        rates, decays = self.learning_rates, self.weight_decays
        if not (rates and min(rates) > 0 and decays and min(decays) >= 0):
            raise CorekitError(f"{needs} learning_rates above 0 and weight_decays of 0 or more")
        if not 0 < self.validation_fraction < 1 or not 0 <= self.warmup_fraction <= 1:
            raise CorekitError(f"{needs} validation_fraction between 0 and 1, and so "
                               "warmup_fraction")
        if min(getattr(self, name) for name in self.COUNTS) < 1:
            *others, last = self.COUNTS
            raise CorekitError(f"{needs} {', '.join(others)} and {last} of 1 or more")
        self.points: Points = [(rate, decay) for rate in rates for decay in decays]

    def seed_for(self, *purpose: int | str) -> int:
        """A seed that the probe's own one and the purpose decide."""
        return derive_seed(self.seed, self.NAME, *purpose)


def scores(points: Points, hits: Tensor, losses: Tensor, samples: int) -> list[Score]:
    """What each of G points reaches on the validation samples, as the record has it.

    ``hits`` [G] are the samples whose class was guessed, ``losses`` [G] the sums of their
    cross-entropies.
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


def shuffled(count: int, seed: int) -> Tensor:
    """0 to count - 1 in an order that the seed decides."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, equal for bit-identical models."""
    sha256, named = hashlib.sha256(), [*model.named_parameters(), *model.named_buffers()]
    for name, value in sorted(named, key=lambda each: each[0]):
        sha256.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        sha256.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()
