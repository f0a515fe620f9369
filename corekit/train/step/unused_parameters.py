"""Parameters that the loss of a step does not reach: alike on any number of ranks, and named."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from corekit.distributed.fsdp import unsharded_parameters
from corekit.distributed.process_group import ProcessGroup
from corekit.errors import CorekitError

SHOWN = 8  # names in the sentence


class UnusedParameters:
    """Finds the trained parameters that a step's loss does not reach on any rank.

    Such a parameter has no gradient, so that the optimizer leaves it as it is, as with one process.
    DDP would wait for its gradient, and both DDP and FSDP2 would call it zero. One that some
    micro-batches do not reach has zeros from them, whichever rank computes them.

    Args:
        model: the module itself, sharded or not.
        group: the ranks.
    """

    def __init__(self, model: nn.Module, group: ProcessGroup) -> None:
        self.group = group
        self.parameters = {name: value for name, value in model.named_parameters()
                           if value.requires_grad}
        self.told: set[str] = set()
        self.reached: set[str] = set()  # on this rank; with one process, gradients tell
        if group.world > 1:
            for name, value in unsharded_parameters(model):
                if value.requires_grad:
                    value.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                        self._note(name))

    def _note(self, name: str) -> Callable[[Tensor], None]:
        def note(value: Tensor) -> None:
            if value.grad is not None:  # it has none where only ``awaited_roots`` reaches it
                self.reached.add(name)

        return note

    def begin(self) -> None:
        """Begin a step, whose gradients are all still to come."""
        self.reached.clear()

    def here(self) -> list[str]:
        """The parameters that this rank's share of the step has not reached."""
        if self.group.world == 1:
            return [name for name, value in self.parameters.items() if value.grad is None]
        return [name for name in self.parameters if name not in self.reached]

    def everywhere(self) -> list[str]:
        """Those that no rank has reached; they lose the zeros that they got for a gradient.

        All ranks ask together.

        Raises:
            CorekitError: no rank has reached any parameter.
        """
        here = set(self.here())
        ranks = torch.tensor([name in here for name in self.parameters], dtype=torch.int32,
                             device=self.group.device)
        counts = self.group.sum(ranks).tolist()
        names = [name for name, count in zip(self.parameters, counts) if count == self.group.world]
        if len(names) == len(self.parameters):
            raise CorekitError("the loss reaches no parameter that is trained: nothing would ever "
                               "change; look at model.frozen, and for a detach() or no_grad() on "
                               "the way from the model to the loss")
        for name in names:
            self.parameters[name].grad = None
        return names

    def sentence(self, names: Iterable[str]) -> str | None:
        """What to say of parameters that no rank has reached; None where it has been said."""
        new = [name for name in names if name not in self.told]
        self.told.update(new)
        if not new:
            return None
        shown = ", ".join(new[:SHOWN]) + (", ..." if len(new) > SHOWN else "")
        return (f"the loss does not reach {len(new)} of the {len(self.parameters)} parameters that "
                f"are trained: {shown}. They stay as they are in every step like this one; name "
                "them in model.frozen if that is meant")


class _ReachesAll(torch.autograd.Function):
    """A zero that depends on parameters, and gives them no gradient."""

    @staticmethod
    def forward(context: Any, *parameters: Tensor) -> Tensor:
        context.count = len(parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(context: Any, *_: Tensor) -> tuple[None, ...]:
        return (None,) * int(context.count)


def awaited_roots(model: nn.Module) -> list[Tensor]:
    """The root of a backward pass without which DDP would wait for parameters that it misses.

    It makes every parameter a part of the graph, so that DDP sees each of them done.
    """
    if not isinstance(model, DistributedDataParallel) or not model.require_backward_grad_sync:
        return []
    return [_ReachesAll.apply(*(each for each in model.parameters() if each.requires_grad))]
