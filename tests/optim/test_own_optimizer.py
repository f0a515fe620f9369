"""An optimizer that a project outside the repository registers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from corekit import CorekitError
from corekit.optim.base import build_optimizer, check_optimizer, set_learning_rate
from corekit.recipes.compose import compose
from tests.conftest import corekit_command

OPTIMIZERS = '''
import torch
from corekit.registry import register


@register("optimizer", "own_sgd")
def own_sgd(model, learning_rate: float, momentum: float = 0.9):
    """SGD; biases learn at half the rate."""
    return torch.optim.SGD([{"params": [model.weight]},
                            {"params": [model.bias], "lr": learning_rate / 2}],
                           lr=learning_rate, momentum=momentum)


@register("optimizer", "own_lr")
def own_lr(model, lr: float):
    """Takes the learning rate under torch's name."""
    return torch.optim.SGD(model.parameters(), lr=lr)


@register("optimizer", "own_nothing")
def own_nothing(model, learning_rate: float):
    """Returns the parameters."""
    return list(model.parameters())
'''
RECIPE = """
# @package _global_
defaults: [{override /optimizer: null}, _self_]
model: {name: mobileclip_nano}
loss: {name: contrastive}
data:
  {dataset: {name: openmoji, samples: 64, concepts: 10}, preprocess: {size: 64},
   tokenizer: {name: clip_bpe, context_length: 32}}
optimizer: {name: own_lr, lr: 0.1}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "projects" / "owner"
    (folder / "recipes").mkdir(parents=True)
    (folder / "optimizers.py").write_text(OPTIMIZERS)
    (folder / "recipes" / "lr.yaml").write_text(RECIPE)
    monkeypatch.setenv("COREKIT_PROJECTS", str(folder))
    return folder


def test_the_schedule_scales_every_group_from_its_own_learning_rate() -> None:
    model = nn.Linear(2, 2)
    optimizer = build_optimizer("own_sgd", {"learning_rate": 0.2, "momentum": 0.0}, model)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.1]
    set_learning_rate(optimizer, 0.05)  # what the schedule makes of 0.2
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.025]
    before = [value.detach().clone() for value in (model.weight, model.bias)]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.allclose(model.weight, before[0] - 0.05)
    assert torch.allclose(model.bias, before[1] - 0.025)


def test_one_that_takes_lr_is_refused_before_anything_is_built(tmp_path: Path,
                                                              project: Path) -> None:
    message = "optimizer 'own_lr' has no parameter `learning_rate`.*takes model, lr. Rename"
    with pytest.raises(CorekitError, match=message):
        check_optimizer("own_lr", {"lr": 0.1})
    done = corekit_command("corekit-train", "+recipe=owner/lr", f"run_dir={tmp_path}/run",
                           folder=tmp_path)
    assert done.returncode == 2
    assert "has no parameter `learning_rate`" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(CorekitError, match="The schedule scales `learning_rate`: give the"):
        compose("+recipe=owner/lr", "~optimizer.lr", "+optimizer.learning_rate=0.1")


def test_one_without_a_learning_rate_or_that_is_none_of_torchs_is_refused() -> None:
    with pytest.raises(CorekitError, match=r"set optimizer\.learning_rate"):
        check_optimizer("own_sgd", {})
    with pytest.raises(CorekitError, match="returns a list, not a torch.optim.Optimizer"):
        build_optimizer("own_nothing", {"learning_rate": 0.1}, nn.Linear(1, 1))
