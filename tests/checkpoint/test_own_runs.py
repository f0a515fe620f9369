"""One's own run is trusted like code, wherever it was trained; somebody else's is data."""

import argparse
import contextlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from corekit import CorekitError
from corekit.checkpoint import own_runs
from corekit.checkpoint.own_runs import is_own_run, refuse_somebody_elses, user_name
from corekit.checkpoint.training_state import Checkpoints
from corekit.cli.replay import _open_run
from corekit.distributed.process_group import ProcessGroup
from corekit.recipes.build import run_config
from corekit.train.run import run as train


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path), )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folders of a run with one checkpoint, whose state does harm."""
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "step_00000002"
    for name in ("state", "model"):
        (checkpoint / name).mkdir(parents=True)
    (folder / "model").symlink_to("checkpoints/step_00000002/model")
    (checkpoint / "state" / ".metadata").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    for path in (folder, checkpoint / "model"):
        (path / "recipe.yaml").write_text("model: {name: a}\n")
    made_by(folder, user_name())
    return folder


def made_by(run: Path, user: object) -> None:
    for folder in (run, *run.glob("checkpoints/*")):
        (folder / "environment.json").write_text(json.dumps({"data": "", "user": user}))


def test_ones_own_run_is_known_from_all_its_folders(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step_00000002"
    for folder in (run, run / "model", checkpoint, checkpoint / "model"):
        assert is_own_run(folder)
    shutil.copytree(run / "model", run / "theirs")
    assert not is_own_run(run / "theirs"), "weights without their run"


@pytest.mark.parametrize("user", [None, 3, "", "itself"])
def test_on_another_machine_it_is_ones_own(run: Path, user: object) -> None:
    """An earlier corekit named no user."""
    made_by(run, user_name() if user == "itself" else user)
    if user in (None, "itself"):
        refuse_somebody_elses(run)
    else:
        with pytest.raises(CorekitError):
            refuse_somebody_elses(run)


def test_another_user_is_refused_before_anything_is_unpickled_or_written(
        run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by(run, "mallory")
    before = sorted(tmp_path.rglob("*"))
    checkpoint = next((run / "checkpoints").iterdir())
    model, ranks = nn.Linear(1, 1), ProcessGroup(0, 1, torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters())
    checkpoints = Checkpoints(run, 1, ranks)
    words = argparse.Namespace(folder=run, root=None)
    config = run_config({"model": {"name": "a"}, "run_dir": str(run), "engine": {"device": "cpu"}})
    for action in (lambda: checkpoints.load(checkpoint, model, optimizer, None),
                   lambda: train(config, None),  # type: ignore[arg-type]
                   lambda: _open_run(words)):
        with pytest.raises(CorekitError, match="made by mallory.*COREKIT_TRUST_RUN=1 before the"):
            action()
    assert not is_own_run(run)
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setenv("COREKIT_TRUST_RUN", "1")
    assert is_own_run(run)
    with contextlib.suppress(Exception):  # it is no real checkpoint
        checkpoints.load(checkpoint, model, optimizer, None)
    assert (tmp_path / "harm").is_dir(), "what is trusted is unpickled"


def test_another_owner_is_refused_unless_the_server_gives_all_files_to_it(
        run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where root's files become nobody's."""
    checkpoint = next((run / "checkpoints").iterdir())
    owner = os.getuid()
    monkeypatch.setattr(own_runs, "user_name", lambda: None)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    refuse_somebody_elses(checkpoint)
    monkeypatch.setattr(own_runs, "_owner_of_new_files", lambda folder: owner + 1)
    with pytest.raises(CorekitError, match=r"environment\.json is owned by"):
        refuse_somebody_elses(checkpoint)
    (checkpoint / "environment.json").unlink()
    with pytest.raises(CorekitError, match=r"state/\.metadata is owned by"):
        refuse_somebody_elses(checkpoint)
