"""The end of a step: its gradients move the weights, or do not where something is not finite."""

import math

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from corekit.checkpoint.training_state import Counters
from corekit.distributed.fsdp import full, local
from corekit.errors import CorekitError
from corekit.optim.base import set_learning_rate
from corekit.train.materialise import Run

SMALLEST_SCALE = 2.0**-10
OF_HALF = (". Numbers above 65,504 overflow in fp16, in the forward pass as well: "
           "engine.precision=bf16 has fp32's range")


def update(run: Run, counters: Counters, losses: dict[str, float], keys: list[str],
           learning_rate: float) -> tuple[float, str]:
    """Clip the gradients and take the optimizer's step; count a step that is skipped.

    Returns:
        the L2 norm of the gradient before clipping, and a message ('' where all is well).

    Raises:
        CorekitError: something is not finite, too often or where the recipe says to stop.
    """
    precision = run.precision
    norm = gradient_norm(run) / precision.loss_scale
    finite_loss = math.isfinite(losses["loss"])
    if finite_loss and math.isfinite(norm):
        _apply(run, norm, learning_rate)
        precision.update(finite=True)
        return norm, ""
    run.step.statistics.discard()
    if finite_loss and precision.scales and precision.loss_scale > SMALLEST_SCALE:
        message = (f"step {counters.step + 1}: fp16 gradients overflow at loss scale "
                   f"{precision.loss_scale:g}, which is halved")
        precision.update(finite=False)
        return norm, message
    # a loss that is not finite says nothing about the scale of its gradients
    return norm, _skip(run, counters, losses, norm, keys)


def _apply(run: Run, norm: float, learning_rate: float) -> None:
    """Clip the gradients, take the optimizer's step, and follow it with statistics and average."""
    factor = 1 / run.precision.loss_scale
    if run.config.engine.grad_clip is not None:
        factor *= min(1.0, run.config.engine.grad_clip / (norm + 1e-6))
    if factor != 1:
        torch._foreach_mul_([local(gradient) for gradient in _gradients(run)], factor)
    set_learning_rate(run.optimizer, learning_rate)
    run.optimizer.step()
    for module in run.after_step:
        module.after_step()
    run.step.statistics.commit()
    if run.ema is not None:
        run.ema.update()


def gradient_norm(run: Run) -> float:
    """The L2 norm of the whole gradient, the same on all ranks."""
    return float(full(get_total_norm(_gradients(run))))


def _gradients(run: Run) -> list[Tensor]:
    return [value.grad for value in run.plain_model.parameters() if value.grad is not None]


def _skip(run: Run, counters: Counters, losses: dict[str, float], norm: float,
          keys: list[str]) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    shown = ", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")
    problem = (f"step {counters.step + 1} is not finite ({values}, gradient norm {norm:g}); this "
               f"rank's batch: {shown}")
    if run.config.engine.non_finite == "raise":
        raise CorekitError(f"{problem}. The last checkpoint is untouched: go on with "
                           "engine.non_finite=skip, or begin anew, in another run_dir, with a "
                           f"lower optimizer.learning_rate or with engine.grad_clip{_half(run)}")
    counters.skipped += 1
    limit = run.config.engine.max_skipped
    if counters.skipped > limit:
        raise CorekitError(f"{problem}. More than engine.max_skipped={limit} steps of this run had "
                           f"to be skipped{_half(run)}")
    return f"{problem}. Its update is skipped ({counters.skipped} of at most {limit})"


def _half(run: Run) -> str:
    """A sentence on fp16, where that is what is trained in."""
    return OF_HALF if run.precision.scales else ""
