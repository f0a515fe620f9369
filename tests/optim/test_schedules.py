"""The multi-step schedule: warm-up, and a fall at each share of the run."""

import pytest

from corekit import CorekitError
from corekit.optim.schedules import MultiStep


def test_the_rate_rises_from_its_start_and_falls_at_each_milestone() -> None:
    # CatLIP's ViT-B detector: from 1e-5 to 3e-4, a tenth from epochs 22 and 24 of 25
    schedule = MultiStep(64550, [0.88, 0.96], warmup_steps=250, warmup_start=1 / 30)
    rates = {step: 3e-4 * schedule(step)
             for step in (0, 124, 249, 56803, 56804, 61967, 61968, 64549)}
    assert rates == pytest.approx({0: 1e-5 + 2.9e-4 / 250, 124: 1.55e-4, 249: 3e-4, 56803: 3e-4,
                                   56804: 3e-5, 61967: 3e-5, 61968: 3e-6, 64549: 3e-6})


@pytest.mark.parametrize("milestones", [[0.9, 0.8], [0.0], [1.0], [0.5, 0.5]])
def test_milestones_are_shares_of_the_run(milestones: list[float]) -> None:
    with pytest.raises(CorekitError, match="must ascend between 0 and 1"):
        MultiStep(10, milestones)
