"""Schedules, parameter groups, AdamW and EMA against their closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from corekit import CorekitError, create_model
from corekit.optim.adamw import adamw, adamw_decoupled
from corekit.optim.ema import Ema
from corekit.optim.parameter_groups import undecayed
from corekit.optim.schedules import Constant, Cosine


def test_cosine_rises_falls_and_ends_where_it_should() -> None:
    schedule = Cosine(steps=100, warmup_steps=10, final_fraction=0.1)
    assert [schedule(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10) == pytest.approx(1.0)
    assert schedule(55) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(99) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert schedule(100) == pytest.approx(0.1)
    assert Constant(steps=10, warmup_steps=2)(0) == 0.5
    assert Constant(steps=10)(7) == 1.0
    with pytest.raises(CorekitError, match=r"warmup_steps=11 must lie between 0 and "
                                           r"engine\.steps=10"):
        Cosine(steps=10, warmup_steps=11)


def test_norms_biases_positions_and_scale_are_not_decayed() -> None:
    with torch.device("meta"):
        model = create_model("mobileclip_s0")
    exempt = undecayed(model, ["norms", "biases", "positions", "logit_scale"])
    decayed = dict(model.named_parameters()).keys() - exempt
    assert "logit_scale" in exempt
    assert "text_tower.positional_embedding" in exempt
    assert not [
        name for name in decayed
        if name.endswith("bias") or ".bn." in name or "ln_" in name or "identity" in name
    ]
    assert {"text_tower.token_embedding.weight", "image_tower.head.fc.weight"} <= decayed
    assert not [name for name in exempt if name.endswith(("fc1.weight", "conv.weight"))]
    with pytest.raises(CorekitError, match="'logitscale' is neither a group"):
        undecayed(model, ["logitscale"])


def test_adamw_follows_its_equations() -> None:
    model = nn.Linear(3, 2).double()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = adamw(model, 0.01, (0.9, 0.95), 1e-8, weight_decay=0.2, no_decay=["biases"])
    moments = {
        name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in start.items()
    }
    for step in range(1, 4):
        optimizer.zero_grad()
        (model(torch.full((1, 3), float(step), dtype=torch.float64)) ** 2).sum().backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            first, second = moments[name]
            first = 0.9 * first + 0.1 * value.grad
            second = 0.95 * second + 0.05 * value.grad**2
            moments[name] = first, second
            decay = 0.0 if name == "bias" else 0.2
            update = first / (1 - 0.9**step) / ((second / (1 - 0.95**step)).sqrt() + 1e-8)
            start[name] = start[name] * (1 - 0.01 * decay) - 0.01 * update
        optimizer.step()
        for name, value in model.named_parameters():
            assert torch.allclose(value, start[name], rtol=1e-12)


def test_ema_averages_floats_and_copies_integers() -> None:
    model = nn.BatchNorm1d(2)
    ema = Ema(model, decay=0.9)
    expected = model.running_mean.clone() if model.running_mean is not None else torch.zeros(2)
    for _ in range(3):
        model(torch.randn(8, 2))
        with torch.no_grad():
            model.weight += 1
        ema.update()
        assert model.running_mean is not None
        expected = 0.9 * expected + 0.1 * model.running_mean
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    with ema.swapped():
        assert model.running_mean is not None
        assert torch.allclose(model.running_mean, expected)
        assert torch.allclose(model.weight, torch.full((2,), 1 + 3 - (0.9 * (1 - 0.9**3) / 0.1)))
        assert int(model.num_batches_tracked or 0) == 3
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


class Tower(nn.Module):
    """Two layers between an embedding and a head, which ``layer_decay`` has to tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 3)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(3, 3)) for _ in range(2))
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x).tanh()
        return self.head(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_decoupled_adamw_follows_its_equations(layer_decay: float) -> None:
    """Loshchilov and Hutter, algorithm 2: theta -= eta (alpha m / (sqrt(v) + eps) + lambda theta);
    eta is the schedule.
    """
    torch.manual_seed(0)
    model, peak, schedule = Tower().double(), 0.01, Cosine(steps=5, warmup_steps=2,
                                                           final_fraction=0.1)
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    moments = {
        name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in expected.items()
    }
    depth = {"embed": 0, "blocks.0": 1, "blocks.1": 2, "head": 3}
    optimizer = adamw_decoupled(model, peak, (0.9, 0.95), 1e-8, 0.3, ["biases"], layer_decay)
    for step in range(5):
        optimizer.zero_grad()
        model(torch.full((1, 3), 1.0 + step, dtype=torch.float64)).square().sum().backward()
        eta = schedule(step)
        for name, value in model.named_parameters():
            assert value.grad is not None
            first, second = moments[name]
            first = 0.9 * first + 0.1 * value.grad
            second = 0.95 * second + 0.05 * value.grad**2
            moments[name] = first, second
            adam = first / (1 - 0.9**(step + 1)) / ((second / (1 - 0.95**(step + 1))).sqrt() + 1e-8)
            alpha = peak * layer_decay**(
                3 - next(number for part, number in depth.items() if name.startswith(part)))
            decay = 0.0 if name.endswith("bias") else 0.3
            expected[name] = expected[name] - eta * (alpha * adam + decay * expected[name])
        for group in optimizer.param_groups:  # as a training step does
            group["lr"] = peak * eta * group["lr_scale"]
        optimizer.step()
    for name, value in model.named_parameters():
        assert torch.allclose(value, expected[name], rtol=1e-12, atol=1e-15)


def test_decoupled_decay_is_torchs_times_the_learning_rate() -> None:
    """A decay of 1e-4 at a largest rate of 1e-3 is what torch calls 0.1."""
    groups = [
        optimizer.param_groups
        for optimizer in (adamw_decoupled(nn.Linear(2, 2), 1e-3, weight_decay=1e-4),
                          adamw(nn.Linear(2, 2), 1e-3, weight_decay=0.1))
    ]
    assert groups[0][0]["weight_decay"] == pytest.approx(groups[1][0]["weight_decay"], rel=1e-15)
    for wrong, caught in (({"learning_rate": 0.0}, r"optimizer\.learning_rate=0 must be above 0"),
                        ({"learning_rate": 1e-3, "layer_decay": 0.0}, r"optimizer\.layer_decay=0 "
                                                                      r"must be above 0")):
        with pytest.raises(CorekitError, match=caught):
            adamw_decoupled(nn.Linear(2, 2), **wrong)


@pytest.mark.parametrize("factory", [adamw, adamw_decoupled])
def test_parameters_named_by_a_pattern_learn_at_a_part_of_the_rate(
        factory: Callable[..., torch.optim.Optimizer]) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = factory(model, 1e-3, weight_decay=0.2, rate_factors={"0.*": 0.1, "0.bias": 0.5})
    scale_of = {id(value): group["lr_scale"] for group in optimizer.param_groups
                for value in group["params"]}
    assert [scale_of[id(value)] for value in model.parameters()] == [0.1, 0.5, 1, 1]
    with pytest.raises(CorekitError, match=r"optimizer\.rate_factors: '3\.\*' is neither"):
        factory(model, 1e-3, rate_factors={"3.*": 0.1})
    with pytest.raises(CorekitError, match=r"optimizer\.rate_factors\.0\.\*.* must be"):
        factory(model, 1e-3, rate_factors={"0.*": -1.0})
