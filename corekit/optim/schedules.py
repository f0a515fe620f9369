"""Learning-rate schedules: factors of the learning rate as pure functions of the step."""

import math
from bisect import bisect_right
from itertools import pairwise

from corekit.errors import CorekitError
from corekit.registry import register


@register("schedule", "constant")
class Constant:
    """Linear warm-up, then the full learning rate.

    Args:
        steps: of the whole run.
        warmup_steps: of the linear rise.
    """

    def __init__(self, steps: int, warmup_steps: int = 0) -> None:
        if not 0 <= warmup_steps <= steps:
            raise CorekitError(f"schedule.warmup_steps={warmup_steps} must lie between 0 and "
                               f"engine.steps={steps}; set another schedule.warmup_steps")
        self.steps, self.warmup_steps = steps, warmup_steps

    def __call__(self, step: int) -> float:
        """The factor of a step, counted from 0; 1 from step ``warmup_steps`` - 1 on."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


@register("schedule", "cosine")
class Cosine(Constant):
    """Linear warm-up, then half a cosine down to ``final_fraction`` at the last step.

    Args:
        steps: of the whole run.
        warmup_steps: of the linear rise.
        final_fraction: of the learning rate that is left at the end.
    """

    def __init__(self, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0) -> None:
        super().__init__(steps, warmup_steps)
        if not 0 <= final_fraction <= 1:
            raise CorekitError(f"schedule.final_fraction={final_fraction:g} must lie between 0 and "
                               "1")
        self.final_fraction = final_fraction

    def __call__(self, step: int) -> float:
        """The factor of a step, counted from 0."""
        if step < self.warmup_steps:
            return super().__call__(step)
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (
            1 + math.cos(math.pi * min(1.0, progress)))


@register("schedule", "multi_step")
class MultiStep(Constant):
    """Linear warm-up, then the full learning rate, which falls at each milestone.

    Args:
        steps: of the whole run.
        milestones: where it falls, as shares of the run, ascending.
        warmup_steps: of the linear rise.
        warmup_start: the factor that the rise starts from.
        factor: what the learning rate is multiplied by at each of them.
    """

    def __init__(self, steps: int, milestones: list[float], warmup_steps: int = 0,
                 warmup_start: float = 0.0, factor: float = 0.1) -> None:
        super().__init__(steps, warmup_steps)
        if any(one >= other for one, other in pairwise((0.0, *milestones, 1.0))):
            raise CorekitError(f"schedule.milestones={[*milestones]} must ascend between 0 and 1: "
                               "they are shares of the run")
        for key, value in (("warmup_start", warmup_start), ("factor", factor)):
            if not 0 <= value <= 1:
                raise CorekitError(f"schedule.{key}={value:g} must lie between 0 and 1")
        self.milestones = [round(share * steps) for share in milestones]
        self.warmup_start, self.factor = warmup_start, factor

    def __call__(self, step: int) -> float:
        """The factor of a step, counted from 0."""
        rise: float = self.warmup_start + (1 - self.warmup_start) * super().__call__(step)
        return rise * self.factor ** bisect_right(self.milestones, step)
