"""The end of a step: clipping and loss scale against closed forms; what is not finite changes
nothing.
"""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from corekit import CorekitError
from corekit.checkpoint.training_state import Counters
from corekit.distributed.batch_norm_stats import RunningStatistics
from corekit.optim.ema import Ema
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EngineConfig
from corekit.train.step.update import update


def run(precision: str = "fp32", non_finite: str = "raise", max_skipped: int = 1,
        grad_clip: float | None = None) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    return SimpleNamespace(
        plain_model=model, after_step=[], precision=Precision(precision), ema=Ema(model, 0.5),
        optimizer=torch.optim.SGD(model.parameters(), lr=99.0),
        step=SimpleNamespace(statistics=RunningStatistics(model)),
        config=SimpleNamespace(engine=EngineConfig(
            non_finite=non_finite, max_skipped=max_skipped,  # type: ignore[arg-type]
            grad_clip=grad_clip)))


def one_step(fake_run: Any, counters: Counters, loss: float = 1.0,
             factor: float = 1.0) -> tuple[float, str]:
    fake_run.optimizer.zero_grad()
    fake_run.step.statistics.begin()
    fake_run.plain_model(torch.arange(12.0).view(4, 3)).square().sum().mul(
        factor * fake_run.precision.loss_scale).backward()
    return update(fake_run, counters, {"loss": loss}, ["a", "b"], learning_rate=0.1)


def snapshot(fake_run: Any) -> list[torch.Tensor]:
    return [
        value.clone()
        for value in (*fake_run.plain_model.state_dict().values(), *fake_run.ema.values.values())
    ]


def test_modules_that_bound_their_parameters_do_so_after_the_update() -> None:
    fake_run = run()
    weight = fake_run.plain_model[1].weight
    fake_run.after_step = [SimpleNamespace(after_step=lambda: weight.data.fill_(7.0))]
    one_step(fake_run, Counters())
    assert weight.tolist() == [7.0, 7.0]
    average = fake_run.ema.values["1.weight"]
    assert average.mean() > 3, "the average takes the bounded value"


def test_gradients_are_clipped_to_the_norm_and_the_rate_is_the_schedules() -> None:
    free, clipped = run(), run(grad_clip=0.5)
    norm, _ = one_step(free, Counters())
    gradient = free.plain_model[1].weight.grad.clone()
    start = run().plain_model[1].weight
    assert torch.allclose(free.plain_model[1].weight, start - 0.1 * gradient)
    clipped_norm, _ = one_step(clipped, Counters())
    assert clipped_norm == pytest.approx(norm)
    assert norm > 0.5
    assert torch.allclose(clipped.plain_model[1].weight, start - 0.1 * gradient * 0.5 / norm,
                          rtol=1e-5)
    assert int(free.plain_model[1].num_batches_tracked) == 1


def test_the_loss_scale_is_taken_out_again_before_clipping() -> None:
    plain, scaled = run(grad_clip=0.5), run("fp16", grad_clip=0.5)
    assert scaled.precision.loss_scale == 2**16
    norms = [one_step(fake_run, Counters())[0] for fake_run in (plain, scaled)]
    assert norms[0] == pytest.approx(norms[1])
    assert torch.allclose(plain.plain_model[0].weight, scaled.plain_model[0].weight)


@pytest.mark.parametrize(("loss", "factor"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.inf)])
def test_a_step_that_is_not_finite_is_skipped_up_to_a_limit(loss: float, factor: float) -> None:
    fake_run, counters = run(non_finite="skip"), Counters(step=6)
    before = snapshot(fake_run)
    _, message = one_step(fake_run, counters, loss, factor)
    assert "step 7 is not finite" in message
    assert "a, b" in message
    assert "1 of at most 1" in message
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(before, snapshot(fake_run)))
    assert counters.skipped == 1
    one_step(fake_run, counters)  # a good one in between does not reset the count
    with pytest.raises(CorekitError, match="More than engine.max_skipped=1"):
        one_step(fake_run, counters, loss, factor)


def test_by_default_the_run_stops_and_names_the_samples() -> None:
    fake_run = run()
    before = snapshot(fake_run)
    with pytest.raises(CorekitError, match="step 1 is not finite .*loss nan.*: a, "
                                           "b.*engine.non_finite=skip"):
        one_step(fake_run, Counters(), math.nan)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(before, snapshot(fake_run)))


def test_fp16_overflow_halves_the_scale_and_good_steps_double_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corekit.optim.loss_scale.GROWTH_STEPS", 2)
    fake_run, counters = run("fp16"), Counters()
    before = snapshot(fake_run)
    _, message = one_step(fake_run, counters, factor=math.inf)
    assert "overflow at loss scale 65536" in message
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(before, snapshot(fake_run)))
    assert fake_run.precision.loss_scale == 2**15
    assert counters.skipped == 0
    for _ in range(2):
        one_step(fake_run, counters)
    assert fake_run.precision.loss_scale == 2**16
    # gradients that overflow at any scale are no matter of fp16
    fake_run.precision.loss_scale = 2.0**-10
    with pytest.raises(CorekitError, match="not finite"):
        one_step(fake_run, counters, factor=math.inf)


def test_a_loss_that_is_not_finite_leaves_the_scale_alone() -> None:
    fake_run = run("fp16", non_finite="skip")
    one_step(fake_run, Counters(), math.nan)
    assert fake_run.precision.loss_scale == 2**16
