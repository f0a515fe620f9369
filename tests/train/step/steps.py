"""A step of a model and losses without a recipe."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from corekit.data.loading.loader import Batch
from corekit.distributed.process_group import ProcessGroup
from corekit.optim.loss_scale import Precision
from corekit.train.step.accumulate import Step
from corekit.train.step.forward import Forward, StepRandom
from corekit.train.step.grad_cache import make_step
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.step.prepare import Prepare
from corekit.wiring import Wiring

ALONE = ProcessGroup(0, 1, torch.device("cpu"))


def step_of(model: nn.Module, losses: Sequence[WeightedLoss], micro_batches: int,
            group: ProcessGroup = ALONE, wrapped: nn.Module | None = None, seed: int = 0,
            steps: int = 1, place: Callable[[Batch], Batch] = dict) -> Step:
    """The step of a recipe in fp32 with this model and these losses.

    Args:
        model: the module itself.
        losses: as the recipe weighs them.
        micro_batches: of a step, on all ranks.
        group: the ranks.
        wrapped: the model in DDP or FSDP2; None: as it is.
        seed: of the run.
        steps: of the run.
        place: puts a micro-batch on the device.
    """
    forward = Forward(model if wrapped is None else wrapped, model,
                      Wiring.of("model", model, model.forward), None, Precision("fp32"),
                      StepRandom(seed, group, micro_batches))
    return make_step(forward, losses, Prepare(place), steps)
