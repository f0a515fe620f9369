"""What evaluators get and what they return."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.transforms.preprocess import Preprocess

Picture = NDArray[np.uint8]  # [H, W, 3]


def _alone(tensor: Tensor) -> Tensor:
    """The sum over one rank."""
    return tensor


@dataclass(frozen=True)
class EvalModel:
    """A model under evaluation, with all that is needed to run it.

    Args:
        model: in eval mode.
        preprocess: what its images go through.
        tokenize: strings -> int64 [n, L]; None: the recipe has no tokenizer.
        device: where the model is.
        autocast: the context of a forward pass.
        rank, world: this process among those that share the work.
        sum: adds a tensor up over them.
        workers: data processes of a rank.
    """

    model: nn.Module
    preprocess: Preprocess
    tokenize: Callable[[Sequence[str]], Tensor] | None
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]
    rank: int = 0
    world: int = 1
    sum: Callable[[Tensor], Tensor] = _alone
    workers: int = 0

    def method(self, name: str) -> Callable[[Tensor], Tensor] | None:
        """A method that models may have: ``encode_image``, ``encode_text``, ``encode_tokens``."""
        return getattr(self.model, name, None)


@dataclass(frozen=True)
class Result:
    """The result of an evaluation.

    Args:
        metrics: fractions of 1.
        dataset: its name.
        samples: how many were evaluated.
        pictures: to look at, by title.
        details: what else the record holds, as JSON has it.
    """

    metrics: dict[str, float]
    dataset: str
    samples: int
    pictures: dict[str, Picture] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)

    @classmethod
    def on(cls, dataset: Source, samples: int, metrics: dict[str, float],
           pictures: dict[str, Picture] | None = None, **details: object) -> "Result":
        """A result on a data set, under the name that the data set has."""
        return cls(metrics, dataset_info(dataset).name, samples, pictures or {}, details)

    def record(self, step: int | None, samples: int | None, evaluator: str) -> dict[str, object]:
        """The line of ``evaluations.jsonl``.

        Args:
            step, samples: of the training behind the weights; None: nobody knows.
            evaluator: the evaluator's label in the recipe.
        """
        return {"step": step, "samples": samples, "evaluator": evaluator, "dataset": self.dataset,
                "evaluated": self.samples, "metrics": self.metrics, **self.details}


class Evaluator(Protocol):
    """The contract of kind ``evaluator``: built of data sets and settings, called with a model.

    All ranks call it at the same time, each with its ``EvalModel``, and return the same metrics.
    Its constructor gets ``preprocess`` where it asks for it.
    """

    def __call__(self, eval_model: EvalModel) -> Result: ...
