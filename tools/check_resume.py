"""Kill a small run at random moments, start the same command again, and compare with an undisturbed run.

    python tools/check_resume.py [--kills 10] [--ranks 1] [--seed 0]

Some kills fall into the middle of a checkpoint's writing: that is waited for on purpose, every third time. Exits with 0
where the losses of all steps are equal to the last bit and there is one line a step; prints what it saw.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 24
WORDS = ("+recipe=mobileclip/quickstart", "engine.batch_size=24", "engine.micro_batch=4", "data.lanes=12",
         "data.window=8", "data.dataset.samples=200", "data.dataset.concepts=10", "data.workers=1", "schedule.warmup_steps=2",
         "log.every_steps=1", "checkpoint.every_steps=2", "evaluators.zero_shot.dataset.samples=20",
         "evaluators.zero_shot.dataset.concepts=10", "evaluators.zero_shot.every_steps=6", f"engine.steps={STEPS}",
         "engine.ema_decay=0.9")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        wait(start(whole, chosen.ranks))
        moments = [kill_once(killed, chosen.ranks, draw, number % 3 == 2) for number in range(chosen.kills)]
        wait(start(killed, chosen.ranks))
        expected, found = read(whole / "metrics.jsonl"), read(killed / "metrics.jsonl")
        evaluated, again = read(whole / "evaluations.jsonl"), read(killed / "evaluations.jsonl")
    inside = sum(moment == "inside a checkpoint's writing" for moment in moments)
    print(f"{chosen.ranks} ranks, {len(moments)} kills ({inside} inside a checkpoint's writing): "
          f"{', '.join(moments)}")
    steps = [record["step"] for record in found]
    same = [mine["loss"] == theirs["loss"] for mine, theirs in zip(expected, found)]
    print(f"steps {steps[:1]} to {steps[-1:]}, {len(steps)} lines; {sum(same)} of {STEPS} losses equal to the last bit; "
          f"evaluations {'equal' if evaluated == again else 'differ'}")
    return 0 if steps == list(range(1, STEPS + 1)) and all(same) and evaluated == again and len(evaluated) == 4 else 1


def start(run: Path, ranks: int) -> "list[subprocess.Popen[bytes]]":
    """Start the run's command on every rank, as torchrun would, but with every process ours to kill."""
    command = [str(Path(sys.executable).with_name("corekit-train")), *WORDS, f"run_dir={run}"]
    port = str(free_port())
    places = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
               "MASTER_PORT": port} for rank in range(ranks)] if ranks > 1 else [{}]
    return [subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             env={**os.environ, "OMP_NUM_THREADS": "1", **place}) for place in places]


def wait(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Until all have ended by themselves."""
    for process in processes:
        if process.wait() != 0:
            raise SystemExit(f"a process of the run ended with status {process.returncode}")


def kill_once(run: Path, ranks: int, draw: random.Random, inside_write: bool) -> str:
    """Start the command, SIGKILL all of it at a random moment, and say which moment it was."""
    processes = start(run, ranks)
    metrics = run / "metrics.jsonl"
    before = metrics.stat().st_mtime_ns if metrics.is_file() else 0
    complete = [int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*") if not path.suffix]
    target = min(STEPS - 1, max(complete, default=0) + draw.randint(1, 5))
    while processes[0].poll() is None:  # until it has done some steps more than the ones it has kept
        fresh = metrics.is_file() and metrics.stat().st_mtime_ns != before
        if fresh and len(read(metrics)) >= target:
            break
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.3))
    deadline = time.monotonic() + 20
    while inside_write and processes[0].poll() is None and time.monotonic() < deadline:
        if list((run / "checkpoints").glob("*.writing")):
            break
        time.sleep(0.0005)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    writing = bool(list((run / "checkpoints").glob("*.writing")))
    codes = [process.wait() for process in processes]
    if codes[0] == 0:
        return "after the end"
    return "inside a checkpoint's writing" if writing else f"after step {len(read(run / 'metrics.jsonl'))}"


def read(path: Path) -> list[dict[str, float]]:
    """The records of a ``.jsonl`` file; a last line that is half written is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
