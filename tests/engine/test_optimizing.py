"""Schedules, parameter groups, AdamW and EMA against their closed forms."""

import math

import pytest
import torch
from torch import nn

from corekit import CorekitError, create_model
from corekit.engine.ema import Ema
from corekit.engine.optimizers import adamw, undecayed
from corekit.engine.schedules import Constant, Cosine


def test_cosine_rises_falls_and_ends_where_it_should() -> None:
    schedule = Cosine(steps=100, warmup_steps=10, final_fraction=0.1)
    assert [schedule(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10) == pytest.approx(1.0)
    assert schedule(55) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(99) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert schedule(100) == pytest.approx(0.1)
    assert Constant(steps=10, warmup_steps=2)(0) == 0.5
    assert Constant(steps=10)(7) == 1.0
    with pytest.raises(CorekitError, match=r"warmup_steps=11 must lie between 0 and engine\.steps=10"):
        Cosine(steps=10, warmup_steps=11)


def test_norms_biases_positions_and_scale_are_not_decayed() -> None:
    with torch.device("meta"):
        model = create_model("mobileclip_s0")
    exempt = undecayed(model, ["norms", "biases", "positions", "logit_scale"])
    decayed = dict(model.named_parameters()).keys() - exempt
    assert "logit_scale" in exempt
    assert "text_tower.positional_embedding" in exempt
    assert not [name for name in decayed if name.endswith("bias") or ".bn." in name or "ln_" in name or "identity" in name]
    assert {"text_tower.token_embedding.weight", "image_tower.head.fc.weight"} <= decayed
    assert not [name for name in exempt if name.endswith(("fc1.weight", "conv.weight"))]
    with pytest.raises(CorekitError, match="'logitscale' is neither a group"):
        undecayed(model, ["logitscale"])


def test_adamw_follows_its_equations() -> None:
    model = nn.Linear(3, 2).double()
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = adamw(model, 0.01, (0.9, 0.95), 1e-8, weight_decay=0.2, no_decay=["biases"])
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in start.items()}
    for step in range(1, 4):
        optimizer.zero_grad()
        (model(torch.full((1, 3), float(step), dtype=torch.float64)) ** 2).sum().backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            first, second = moments[name]
            moments[name] = first, second = 0.9 * first + 0.1 * value.grad, 0.95 * second + 0.05 * value.grad**2
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
