"""What a scheduler sends to a running training: SIGTERM and SIGUSR1 save and stop it."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import start_ranks

from corekit.checkpoint.training_state import complete_checkpoints
from tests.conftest import TINY, corekit_command

WORDS = (*TINY, "checkpoint.every_steps=null", "engine.steps=100", "data.workers=1",
         "checkpoint.keep_last=9", "evaluators.zero_shot.every_steps=20")


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def lines(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.is_file() else 0


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_signals_save_and_stop(tmp_path: Path, ranks: int, number: signal.Signals) -> None:
    run = tmp_path / "run"
    processes = start_ranks("corekit-train", *WORDS, folder=tmp_path, output=tmp_path / "told",
                            ranks=ranks)
    try:
        until(lambda: lines(run) >= 2)
        # to any one rank, and to its data workers, as srun does
        os.killpg(processes[-1].pid, number)
        for process in processes:
            process.join(60)
    finally:
        for process in processes:
            process.kill()
    errors = [path.read_text() for path in sorted(tmp_path.glob("told*"))]
    assert [process.exitcode for process in processes] == [143] * ranks, errors
    step = lines(run)
    assert f"stopped by a signal; step {step} of 100 is saved" in errors[0]
    assert "Traceback" not in "".join(errors)
    assert complete_checkpoints(run)[-1].name == f"step_{step:08d}"
    done = corekit_command("corekit-train", *WORDS, f"engine.steps={step + 2}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"continuing at step {step}" in done.stdout
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, step + 3))
