"""One run at a time in a directory; a disk that cannot be written to, or is full, costs no
checkpoint.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import corekit
from corekit import CorekitError
from corekit.checkpoint.training_state import Counters, complete_checkpoints
from corekit.train.run import closing
from tests.conftest import TINY, corekit_command

HOLD = """
import sys, time
from pathlib import Path
from corekit.train.run_dir import _lock
held = _lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    first = subprocess.Popen([sys.executable, "-c", HOLD, "run"], cwd=tmp_path,
                             stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        done = corekit_command("corekit-train", *TINY, "engine.steps=1", folder=tmp_path)
        assert done.returncode == 2
        assert f"another run is writing to run (process {first.pid} on " in done.stderr
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "lock"]
    finally:
        first.kill()
        first.wait()
    done = corekit_command("corekit-train", *TINY, "engine.steps=1", folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_directory_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    places = ["file/run"]
    if os.geteuid() != 0:  # root may write everywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        places.append("locked/run")
    for place in places:
        done = corekit_command("corekit-train", *TINY, f"run_dir={place}", folder=tmp_path)
        assert done.returncode == 2
        assert f"run_dir={place} cannot be written to: " in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("background", ["true", "false"])
def test_a_full_disk_costs_no_checkpoint(tmp_path: Path, background: str) -> None:
    """The state of the run is larger than what can be written."""
    words = (*TINY, f"checkpoint.background={background}")
    first = corekit_command("corekit-train", *words, "engine.steps=2", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    limited = corekit_command("tests.train.full_disk", *words, folder=tmp_path)
    assert limited.returncode == 2
    assert "Traceback" not in limited.stderr
    assert "checkpoint step_00000004 of run could not be written" in limited.stderr
    assert ("step_00000002 is whole and stands: put that right, then type the same command again"
            in limited.stderr)
    assert [path.name for path in complete_checkpoints(tmp_path / "run")] == ["step_00000002"]
    assert not list((tmp_path / "run" / "checkpoints").glob("*.writing"))
    last = corekit_command("corekit-train", *words, folder=tmp_path)
    assert last.returncode == 0, last.stderr
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4]


def test_a_damaged_checkpoint_is_kept_aside_and_copies_beside_it_stay(finished_run: Path,
                                                                      tmp_path: Path) -> None:
    shutil.copytree(finished_run / "run", tmp_path / "run", symlinks=True)
    checkpoints = tmp_path / "run" / "checkpoints"
    for copy in ("step_00000002_good", "step_backup"):
        shutil.copytree(checkpoints / "step_00000002", checkpoints / copy)
    weights = checkpoints / "step_00000004" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorekitError, match="model.safetensors is damaged"):
        corekit.load(str(tmp_path / "run"))
    done = corekit_command("corekit-train", *TINY, "engine.steps=6", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step_00000004 is damaged (model/model.safetensors is not what" in done.stderr
    assert "continuing at step 2" in done.stdout
    assert {path.name for path in checkpoints.iterdir()} == {
        "step_00000002_good", "step_backup", "step_00000004.damaged", "step_00000004",
        "step_00000006"}


@pytest.mark.parametrize(("command", "words", "sentence"), [
    ("corekit-eval", ("checkpoint=run", "data.workers=-1"), "data.workers=-1 (on the command line) "
                                                            "must be at least 0"),
    ("corekit-train", (*TINY, "seed=0,1"), "for a run of each, add -m"),
    ("corekit-train", (*TINY, "run_dir=new", "optimizer.learning_rate=-0.1"),
     "optimizer 'adamw': Invalid learning rate: -0.1"),
])
def test_values_that_cannot_be_are_one_sentence(finished_run: Path, command: str,
                                                words: tuple[str, ...], sentence: str) -> None:
    done = corekit_command(command, *words, folder=finished_run)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_that_a_run_prints_can_be_typed(finished_run: Path, tmp_path: Path) -> None:
    name = "my runs, lr=0.1"
    shutil.copytree(finished_run / "run", tmp_path / name)  # links become folders
    printed = closing("m", Counters(4, 128), tmp_path / name, 0, 1.0)
    line = next(line for line in printed.splitlines() if "corekit-eval" in line)
    words = shlex.split(line.removesuffix("the same figures again"))
    done = corekit_command(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "zero_shot on 40 samples of openmoji: top1" in done.stdout
