"""What evaluators get and what they return."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.loading.read_ahead import ReadAhead
from corekit.data.transforms.preprocess import Preprocess
from corekit.files import replacing
from corekit.recipes.schema import EvaluatorConfig
from corekit.records import figures

MAX_BAD_FRACTION = 0.01  # of the samples of an evaluation, where the recipe does not say
Picture = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True)
class EvalModel:
    """A model in eval mode, with all that is needed to run it."""

    model: nn.Module
    preprocess: Preprocess  # what its images go through
    tokenize: Callable[[Sequence[str]], Tensor] | None  # to int64 [n, L]; None: no tokenizer
    device: torch.device
    autocast: Callable[[], AbstractContextManager[object]]  # the context of a forward pass
    rank: int = 0  # this process among those that share the work
    world: int = 1
    sum: Callable[[Tensor], Tensor] = lambda tensor: tensor  # over them
    workers: int = 0  # data processes of a rank
    precision: str = "fp32"  # of the forward pass
    name: str = "model"  # in tables
    fingerprint: str = ""  # a hash of the weights, and of what they are weights of
    store: Path | None = None  # the folder for what a suite keeps; None: it keeps nothing
    features: Path | None = None  # the folder where features are kept and found again
    ahead: ReadAhead | None = None  # the data sets that are evaluated one after the other
    # is called with how many samples more went through the model, over all ranks
    progress: Callable[[int], None] = lambda samples: None

    def all_agree(self, flag: bool) -> bool:
        """Whether a flag is set on every rank; all ranks wait for each other here."""
        return int(self.sum(torch.tensor([int(flag)], device=self.device))) == self.world

    def method(self, name: str) -> Callable[[Tensor], Tensor] | None:
        """A method that models may have: ``encode_image``, ``encode_text``, ``encode_tokens``."""
        return getattr(self.model, name, None)


@dataclass(frozen=True)
class Result:
    """The result of an evaluation."""

    metrics: dict[str, float]  # fractions of 1
    dataset: str  # its name
    samples: int  # how many were evaluated
    pictures: dict[str, Picture] = field(default_factory=dict)  # to look at, by title
    # to keep, by name; of the first rank
    files: dict[str, bytes | bytearray] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)  # what else the record holds, as JSON
    unreadable: int = 0  # how many were not evaluated, because they cannot be read
    table: str = ""  # for people, of more figures than a line has room for

    @classmethod
    def on(cls, dataset: Source, samples: int, metrics: dict[str, float],
           pictures: dict[str, Picture] | None = None, left_out: int = 0,
           files: dict[str, bytes | bytearray] | None = None, **details: object) -> "Result":
        """A result on a data set, under its name; it leaves some samples out of its own accord."""
        unreadable = int(dataset.shard_sizes.sum()) - samples - left_out
        name = dataset_info(dataset).name
        return cls(metrics, name, samples, pictures or {}, files or {}, details, unreadable)

    def problem(self, config: EvaluatorConfig) -> str | None:
        """What is wrong where more samples are lost than the recipe allows."""
        allowed = config.max_bad_fraction
        allowed = MAX_BAD_FRACTION if allowed is None else allowed
        total = self.samples + self.unreadable
        if self.unreadable <= allowed * total:
            return None
        key = f"evaluators.{config.label}.max_bad_fraction"
        return (f"evaluator '{config.label}' read all but {self.unreadable:,} of {total:,} "
                f"samples, more than {key}={allowed:g}: its figures are of the others alone; "
                f"`corekit data check FOLDER` says what is wrong with shards; {key}=1 allows it")

    def __str__(self) -> str:
        """The line for people."""
        lost = f" ({self.unreadable} more cannot be read)" if self.unreadable else ""
        average = {name: value for name, value in self.metrics.items() if name == "average"}
        shown = figures(average if self.table else self.metrics)
        return f"{self.samples} samples{lost} of {self.dataset}{': ' if shown else ''}{shown}"

    def record(self, step: int | None, samples: int | None, evaluator: str) -> dict[str, object]:
        """The line of ``evaluations.jsonl``, under the evaluator's label in the recipe.

        ``step`` and ``samples`` are those of the training behind the weights; None: unknown.
        """
        return {"step": step, "samples": samples, "evaluator": evaluator, "dataset": self.dataset,
                "evaluated": self.samples, "metrics": self.metrics, **self.details,
                **({"unreadable": self.unreadable} if self.unreadable else {})}


def write_files(folder: Path, files: Mapping[str, bytes | bytearray]) -> None:
    """Write a folder of files, complete or not at all."""
    with replacing(folder) as writing:
        writing.mkdir()
        for name, content in files.items():
            (writing / name).write_bytes(content)


class Evaluator(Protocol):
    """The contract of kind ``evaluator``: built of data sets and settings, called with a model.

    All ranks call it at the same time, each with its ``EvalModel``, and return the same metrics.
    Its constructor gets ``preprocess`` where it asks for it.
    """

    def __call__(self, eval_model: EvalModel) -> Result: ...
