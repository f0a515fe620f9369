"""Checkpoints are whole or not there; what is loaded is what was saved; nothing from outside is
unpickled.
"""

import contextlib
import importlib
import json
import math
import os
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from corekit import CorekitError
from corekit.checkpoint.model_folder import load_weights
from corekit.checkpoint.training_state import Checkpoints, Counters, complete_checkpoints
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup
from corekit.optim.ema import Ema
from corekit.records import append_record, best_evaluation, read_records
from corekit.train.logger import RunLogger

ALONE = ProcessGroup(0, 1, torch.device("cpu"))
PREPROCESS = Preprocess(8, "bilinear", (0, 0, 0), (1, 1, 1))
RECIPE = {"model": {"name": "x"}}


def trained(seed: int, steps: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def save(run: Path, step: int, seed: int = 0,
         keep_last: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    model, optimizer = trained(seed)
    Checkpoints(run, keep_last, ALONE).save(model, optimizer, None,
                                            Counters(step, 10 * step, {"image": 1}), RECIPE,
                                            PREPROCESS, {"python": "3"})
    return model, optimizer


def test_everything_comes_back_to_the_bit(tmp_path: Path) -> None:
    model, optimizer = save(tmp_path, 3)
    other, other_optimizer = trained(1, steps=0)
    counters = Checkpoints(tmp_path, 2, ALONE).load_newest(other, other_optimizer, None)
    assert counters == Counters(3, 30, {"image": 1})
    for (name, mine), theirs in zip(model.state_dict().items(), other.state_dict().values()):
        assert torch.equal(mine, theirs), name
    for mine, theirs in zip(optimizer.state.values(), other_optimizer.state.values()):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(mine[key], theirs[key])
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(fresh, tmp_path / "model")
    assert torch.equal(fresh[0].weight, model[0].weight)


def test_only_complete_ones_count_and_the_last_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step, seed=step)
    assert [path.name
            for path in complete_checkpoints(tmp_path)] == ["step_00000003", "step_00000010"]
    half = tmp_path / "checkpoints" / "step_00000011.writing"
    (half / "state").mkdir(parents=True)
    assert complete_checkpoints(tmp_path)[-1].name == "step_00000010"
    Checkpoints(tmp_path, 2, ALONE).tidy()
    assert not half.exists()
    assert os.readlink(tmp_path / "model") == "checkpoints/step_00000010/model"


@pytest.mark.parametrize("call", [
    "os.replace", "shutil.rmtree", "corekit.checkpoint.training_state.save_model_folder",
    "corekit.checkpoint.training_state.publish"
])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_save_killed_anywhere_leaves_the_one_before(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch, call: str,
                                                      count: int) -> None:
    """The process dies at the count-th use of a function inside the save; a complete checkpoint is
    there all the same.
    """
    class Killed(BaseException):
        """Nothing catches it, and no clean-up runs in between."""

    save(tmp_path, 1)
    module, name = call.rsplit(".", 1)
    real, seen = getattr(importlib.import_module(module), name), []

    def dying(*arguments: Any, **more: Any) -> Any:
        if len(seen) == count:
            raise Killed
        seen.append(1)
        return real(*arguments, **more)

    monkeypatch.setattr(call, dying)
    with contextlib.suppress(Killed):
        save(tmp_path, 2, seed=7, keep_last=1)
    monkeypatch.undo()
    assert complete_checkpoints(tmp_path)
    model, optimizer = trained(3, steps=0)
    counters = Checkpoints(tmp_path, 1, ALONE).load_newest(model, optimizer, None)
    expected, _ = trained({1: 0, 2: 7}[counters.step])
    assert torch.equal(model[0].weight, expected[0].weight)


def test_weights_that_do_not_fit_are_said(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(CorekitError, match="model.safetensors cannot be loaded.*size mismatch"):
        load_weights(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), tmp_path / "model")
    (tmp_path / "checkpoints" / "step_00000001" / "model" /
     "model.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CorekitError, match="cannot be loaded"):
        load_weights(trained(0)[0], tmp_path / "model")


def test_records_of_lost_steps_are_cut_away(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        lines = [json.dumps({"step": step, "evaluator": "a", "metrics": {}})
                 for step in (1, 2, 3, 4)]
        (tmp_path / name).write_text("\n".join(lines) + '\n{"step": 5, "lo')
    RunLogger(tmp_path, ALONE, steps=10, done=2, samples=20).close()
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert [record["step"] for record in read_records(tmp_path / name)] == [1, 2]


def test_what_is_written_in_the_background_is_the_state_of_its_step(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    real = Checkpoints._write

    def late(self: Checkpoints, state: dict[str, Any], writing: Path) -> None:
        go_on.wait(10)
        real(self, state, writing)

    monkeypatch.setattr(Checkpoints, "_write", late)
    model, optimizer = trained(0)
    ema = Ema(model, 0.5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    counters = Counters(3, 30)
    checkpoints = Checkpoints(tmp_path, 2, ALONE, background=True)
    checkpoints.save(model, optimizer, ema, counters, RECIPE, PREPROCESS, {})
    assert not complete_checkpoints(tmp_path)
    with torch.no_grad():  # training goes on meanwhile
        for value in [*model.parameters(), *ema.values.values()]:
            value.mul_(7)
    counters.step = 4
    go_on.set()
    checkpoints.wait()
    other, other_optimizer = trained(1, steps=0)
    other_ema = Ema(other, 0.5)
    assert Checkpoints(tmp_path, 2, ALONE).load_newest(other, other_optimizer, other_ema).step == 3
    for name, value in other.state_dict().items():
        assert torch.equal(value, expected[name]), name
        assert torch.equal(other_ema.values[name], expected[name]), name
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(fresh, tmp_path / "model")
    assert torch.equal(fresh[0].weight, expected["0.weight"])


def test_what_goes_wrong_in_the_background_is_told(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corekit.checkpoint.training_state.save_model_folder", full)
    model, optimizer = trained(0)
    checkpoints = Checkpoints(tmp_path, 2, ALONE, background=True)
    checkpoints.save(model, optimizer, None, Counters(3, 30), RECIPE, PREPROCESS, {})
    with pytest.raises(CorekitError, match="step_00000003 .* could not be written .*No space "
                                           "left.*there is none before it"):
        checkpoints.wait()
    checkpoints.save(model, optimizer, None, Counters(3, 30), RECIPE, PREPROCESS, {})
    assert checkpoints.pending is not None
    futures.wait([checkpoints.pending], timeout=10)
    with pytest.raises(CorekitError, match="could not be written"):
        checkpoints.check()


def test_the_best_one_is_kept_beside_the_last(tmp_path: Path) -> None:
    model, optimizer = trained(0)
    checkpoints = Checkpoints(tmp_path, 1, ALONE)
    for step, value in ((1, 0.1), (2, 0.5), (3, 0.3), (4, 0.5), (5, math.nan)):
        before = best_evaluation(tmp_path / "evaluations.jsonl", "zero_shot/top1")
        checkpoints.best = step if before is None or value > before[0] else before[1]
        append_record(tmp_path / "evaluations.jsonl",
                      {"step": step, "evaluator": "zero_shot", "metrics": {"top1": value}})
        append_record(tmp_path / "evaluations.jsonl",
                      {"step": step, "evaluator": "knn", "metrics": {"top1": 0.9}})
        checkpoints.save(model, optimizer, None, Counters(step), RECIPE, PREPROCESS, {})
    append_record(tmp_path / "evaluations.jsonl", {"step": 4, "evaluator": "zero_shot", "by":
                                                   "corekit-eval", "metrics": {"top1": 1.0}})
    append_record(tmp_path / "evaluations.jsonl", {"step": 4, "evaluator": "zero_shot", "failed":
                                                   "half is lost", "metrics": {"top1": 1.0}})
    assert best_evaluation(tmp_path / "evaluations.jsonl", "zero_shot/top1") == (0.5, 2)
    assert best_evaluation(tmp_path / "evaluations.jsonl", "retrieval/top1") is None
    assert [path.name
            for path in complete_checkpoints(tmp_path)] == ["step_00000002", "step_00000005"]
    assert os.readlink(tmp_path / "best") == "checkpoints/step_00000002/model"


def test_weights_that_are_not_finite_become_no_checkpoint(tmp_path: Path) -> None:
    model, optimizer = trained(0)
    checkpoints = Checkpoints(tmp_path, 2, ALONE)
    checkpoints.save(model, optimizer, None, Counters(1), RECIPE, PREPROCESS, {})
    ema = Ema(model, 0.9)
    for values in (model.state_dict(), ema.values):
        values["1.running_mean"][2] = math.nan
        with pytest.raises(CorekitError, match=r"step 2 weights are not finite \(1.running_m"):
            checkpoints.save(model, optimizer, ema, Counters(2), RECIPE, PREPROCESS, {})
        values["1.running_mean"][2] = 0
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]


def test_a_model_folder_in_the_place_of_the_link_is_kept_beside_it(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        (tmp_path / "model").mkdir()  # as cp -rL leaves it
        (tmp_path / "model" / "mine").touch()
        save(tmp_path, step)
        assert os.readlink(tmp_path / "model") == f"checkpoints/step_0000000{step}/model"
        (tmp_path / "model").unlink()
    assert (tmp_path / "model.copy" / "mine").is_file()
    assert (tmp_path / "model.copy2" / "mine").is_file()
    assert "model is no link to a checkpoint: it is kept as model.copy2" in caplog.text


def test_a_run_whose_steps_were_all_skipped_goes_on(tmp_path: Path) -> None:
    """The optimizer has no state yet, or none for some parameters: it begins afresh for those, to
    the bit.
    """
    model, optimizer = trained(0, steps=0)
    model(torch.randn(5, 3)).sum().backward()  # gradients are there, but no step was taken
    Checkpoints(tmp_path / "a", 1, ALONE).save(model, optimizer, None, Counters(1), RECIPE,
                                               PREPROCESS, {})
    other, other_optimizer = trained(1, steps=0)
    Checkpoints(tmp_path / "a", 1, ALONE).load_newest(other, other_optimizer, None)
    assert not other_optimizer.state
    model.zero_grad()
    model[0](torch.ones(5, 3)).sum().backward()  # the norm has no gradient
    optimizer.step()
    Checkpoints(tmp_path / "b", 1, ALONE).save(model, optimizer, None, Counters(2), RECIPE,
                                               PREPROCESS, {})
    Checkpoints(tmp_path / "b", 1, ALONE).load_newest(other, other_optimizer, None)
    assert set(other_optimizer.state) == set(other[0].parameters())
    for each, its_optimizer in ((model, optimizer), (other, other_optimizer)):
        each.zero_grad()
        each(torch.ones(5, 3)).square().sum().backward()
        its_optimizer.step()
    assert torch.equal(model[1].weight, other[1].weight)
    assert torch.equal(model[0].weight, other[0].weight)
