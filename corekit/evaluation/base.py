"""What evaluators are given and what they give back."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess


@dataclass(frozen=True)
class EvalModel:
    """A model under evaluation, with all that is needed to run it.

    ``tokenize`` turns strings into int64 [n, L]; ``autocast`` gives the context of a forward pass;
    ``rank`` of ``world`` processes share the work, and ``sum`` adds a tensor up over them. """

    model: nn.Module
    preprocess: Preprocess
    tokenize: Callable[[Sequence[str]], Tensor] | None
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    rank: int = 0
    world: int = 1
    sum: Callable[[Tensor], Tensor] = lambda tensor: tensor
    workers: int = 0


@dataclass(frozen=True)
class Result:
    """What an evaluation found: figures (fractions of 1), the data set, how many samples, pictures
    to look at.

    ``pictures`` are uint8 [H, W, 3] by title; ``details`` is what else the record holds, as JSON
    has it. """

    metrics: dict[str, float]
    dataset: str
    samples: int
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def record(self, step: int | None, samples: int | None, evaluator: str) -> dict[str, Any]:
        """The line of ``evaluations.jsonl``.

        Args:
            step, samples: of the training behind the weights; None: nobody knows.
            evaluator: the evaluator's label in the recipe.
        """
        return {"step": step, "samples": samples, "evaluator": evaluator, "dataset": self.dataset,
                "evaluated": self.samples, "metrics": self.metrics, **self.details}
