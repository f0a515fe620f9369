"""What an optimizer and a schedule are to the trainer."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from corekit import registry
from corekit.errors import CorekitError

# Entries of kind ``optimizer`` take these two by name; the rest of their arguments is their own.
TAKEN = ("model", "learning_rate")


class Schedule(Protocol):
    """The learning rate of a step as a factor of the optimizer's: an entry of kind ``schedule``.

    A pure function of the step. Its constructor gets ``steps``, of the whole run, where it asks
    for it.
    """

    def __call__(self, step: int) -> float:
        """The factor of a step, counted from 0."""
        ...


class OptimizerFactory(Protocol):
    """An entry of kind ``optimizer``: from a model and the largest learning rate to torch's object.

    Its other parameters are keys of the recipe's ``optimizer``. The trainer sets the ``lr`` of
    every parameter group before each step: the schedule's learning rate times the group's
    ``lr_scale``. Where a group has none, it is the group's first ``lr`` over ``learning_rate``.
    """

    def __call__(self, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer: ...


def check_optimizer(name: str, arguments: Mapping[str, object]) -> None:
    """Refuse an optimizer that the trainer cannot set a learning rate for; nothing is imported.

    Raises:
        CorekitError: the entry has another signature, or there is no learning rate.
    """
    signature = registry.find("optimizer", name).signature
    missing = [parameter for parameter in TAKEN if parameter not in signature.names]
    if missing and not signature.open_ended:
        raise CorekitError(f"optimizer '{name}' has no parameter `{missing[0]}`: an optimizer "
                           "takes `model` and `learning_rate`, which the schedule scales, and this "
                           f"one takes {', '.join(signature.names) or 'nothing'}. Rename its "
                           f"parameter to `{missing[0]}`")
    rate = arguments.get("learning_rate")
    if not isinstance(rate, (int, float)):
        raise CorekitError(f"optimizer '{name}' needs a learning rate: set optimizer.learning_rate")


def build_optimizer(name: str, arguments: Mapping[str, object],
                    model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer, with an ``lr_scale`` in every parameter group.

    Raises:
        CorekitError: as of ``check_optimizer``, or the entry returns no optimizer of torch's.
    """
    check_optimizer(name, arguments)
    optimizer = registry.build("optimizer", name, arguments, {"model": model})
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise CorekitError(f"optimizer '{name}' returns a {type(optimizer).__name__}, not a "
                           "torch.optim.Optimizer")
    learning_rate = float(arguments["learning_rate"])  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        # a learning rate of 0 says nothing about the groups
        group.setdefault("lr_scale", group["lr"] / learning_rate if learning_rate else 1.0)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
