"""What a loss is to the trainer: two protocols, and defaults of what a loss may leave out."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from corekit.losses.guess import Guess

Parts = Tensor | Mapping[str, Tensor]  # one figure, or one for each named part
Weights = float | Tensor | Mapping[str, float | Tensor]


class SampleLoss(Protocol):
    """A sum over samples, or over tokens, boxes or pixels.

    The parameters of ``__call__`` are the names of model outputs and batch entries. It returns the
    sum over the samples that it is called with, as a scalar or as part -> scalar.

    A sample loss may also have:

    * ``weights``, a method: what the sums of a micro-batch are divided by, of batch entries alone.
      The trainer adds the weights up over all micro-batches and ranks. Without it, a sum is divided
      by the number of samples.
    * ``weights = 1``: the loss of a micro-batch is a mean already, and the loss of the step is the
      mean over its micro-batches.
    * ``on_cpu``: names of batch entries that ``__call__`` gets on the CPU, where they were read.
      There it can check labels without waiting for the GPU.
    * ``guessing``, as of ``Guesses``.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Parts: ...


class BatchLoss(Protocol):
    """A loss that compares samples with each other: ``compares_samples`` is True.

    It gets the values of all samples of the step, from all ranks. Where ``__call__`` has a
    parameter ``rows``, it returns the share of those rows, and the ranks' shares add up to the
    loss.

    A batch loss may have ``gathered_as``, parameter -> dtype: batch entries that travel between
    ranks in fewer bits. It may have ``guessing``, as of ``Guesses``.
    """

    compares_samples: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Parts: ...


class Guesses(Protocol):
    """A loss that knows what it is for a model that guesses; of another one nothing is reported.

    The parameters of ``guessing`` are names, too: of model outputs, which have a shape and nothing
    else; of batch entries, which are those of many samples; and ``samples``, of a step.
    """

    def guessing(self, *args: Any, **kwargs: Any) -> Guess:
        """The value of the loss, all its parts added up."""
        ...


@dataclass(frozen=True)
class LossEntry:
    """A loss with everything that the trainer asks of it."""

    function: Callable[..., Parts]
    signature_of: Callable[..., object]
    weights: Callable[..., Weights] | None = None
    compares_samples: bool = False
    gathered_as: Mapping[str, torch.dtype] = field(default_factory=dict)
    on_cpu: frozenset[str] = frozenset()
    guessing: Callable[..., Guess] | None = None
    end_token: int | None = None  # the token that it takes for the end of a caption

    @property
    def takes_rows(self) -> bool:
        """Whether it can compute the share of some rows."""
        return "rows" in inspect.signature(self.signature_of).parameters

    @classmethod
    def of(cls, loss: Callable[..., Parts]) -> "LossEntry":
        """Read a loss: an object, a module or a plain function."""
        signature_of = loss.forward if isinstance(loss, nn.Module) else loss
        weights = getattr(loss, "weights", None)
        if isinstance(weights, (int, float)):
            weights = _constant(weights)
        return cls(loss, signature_of, weights, bool(getattr(loss, "compares_samples", False)),
                   dict(getattr(loss, "gathered_as", {})), frozenset(getattr(loss, "on_cpu", ())),
                   getattr(loss, "guessing", None), getattr(loss, "end_token", None))


def _constant(weight: float) -> Callable[[], float]:
    """The same weight for every micro-batch."""
    return lambda: weight
