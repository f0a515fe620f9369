"""The end of a step: its gradients move the weights, or do not where something is not finite."""

import math

import torch
from torch.nn.utils import get_total_norm

from corekit.checkpoint.training_state import Counters
from corekit.distributed.fsdp import local
from corekit.errors import CorekitError
from corekit.train.materialise import Run

SMALLEST_SCALE = 2.0**-10


def update(run: Run, counters: Counters, losses: dict[str, float], keys: list[str],
           learning_rate: float) -> tuple[float, str]:
    """Clip the gradients and take the optimizer's step; count a step that is skipped.

    Returns:
        the L2 norm of the gradient before clipping, and what there is to say about it ('' where all
        is well).

    Raises:
        CorekitError: the loss or the gradient is not finite, and the recipe says to stop, or too
            often.
    """
    precision = run.precision
    gradients = [
        local(value.grad) for value in run.plain_model.parameters() if value.grad is not None
    ]
    norm = gradient_norm(run) / precision.loss_scale
    finite = math.isfinite(losses["loss"]) and math.isfinite(norm)
    overflow = precision.scales and not finite and math.isfinite(
        losses["loss"]) and precision.loss_scale > SMALLEST_SCALE
    said = ""
    if finite:
        factor = 1 / precision.loss_scale
        if run.config.engine.grad_clip is not None:
            factor *= min(1.0, run.config.engine.grad_clip / (norm + 1e-6))
        if factor != 1:
            torch._foreach_mul_(gradients, factor)
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        run.optimizer.step()
        run.step.statistics.commit()
        if run.ema is not None:
            run.ema.update()
    else:
        run.step.statistics.discard()
        said = (f"step {counters.step + 1}: fp16 gradients overflow at loss scale "
                f"{precision.loss_scale:g}, which is halved"
                if overflow else _skip(run, counters, losses, norm, keys))
    # a loss that is not finite says nothing about the scale of its gradients
    if finite or overflow:
        precision.update(finite)
    return norm, said


def gradient_norm(run: Run) -> float:
    """The L2 norm of the whole gradient, the same on all ranks."""
    total = get_total_norm(
        [value.grad for value in run.plain_model.parameters() if value.grad is not None])
    return float(total.full_tensor() if hasattr(total, "full_tensor") else total)


def _skip(run: Run, counters: Counters, losses: dict[str, float], norm: float,
          keys: list[str]) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    what = (f"step {counters.step + 1} is not finite ({values}, gradient norm {norm:g}); this "
            f"rank's batch: "
            f"{', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}")
    if run.config.engine.non_finite == "raise":
        raise CorekitError(f"{what}. The last checkpoint is untouched: go on with "
                           f"engine.non_finite=skip, or begin anew, in "
                           "another run_dir, with a lower optimizer.learning_rate or with "
                           "engine.grad_clip")
    counters.skipped += 1
    limit = run.config.engine.max_skipped
    if counters.skipped > limit:
        raise CorekitError(f"{what}. More than engine.max_skipped={limit} steps of this run had to "
                           f"be skipped")
    return f"{what}. Its update is skipped ({counters.skipped} of at most {limit})"
