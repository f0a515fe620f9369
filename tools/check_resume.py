"""Kill a small run at random moments, continue it, and compare it with an undisturbed run.

    python tools/check_resume.py [--run clip | detector | conversations] [--kills 10]
        [--ranks 1] [--then-ranks N] [WORDS ...]

Every third kill waits for the middle of a checkpoint's writing. With --then-ranks the second half
of the starts is on that many ranks. WORDS change the run, as in "sampler={name: variable_size,
smallest: 32, largest: 96}". Exits with 0 where every start but the first continued from a
checkpoint, there is one line a step and the losses of all steps are equal to the last bit. Where
ranks change, the losses before must be equal, and the first five that differ must do so by rounding
alone (1e-4 of them). Training amplifies that: two undisturbed runs of 52 steps, on 1 and on 2
ranks, end 1e-2 apart.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import start_ranks

BATCH = 12
WORDS = (f"engine.batch_size={BATCH}", "data.streams=12", "data.window=8",
         "data.dataset.samples=200", "data.dataset.concepts=10", "data.workers=1",
         "schedule.warmup_steps=2", "log.every_steps=1", "checkpoint.every_steps=2",
         "engine.ema_decay=0.9")
RUNS = {
    "clip": ("+recipe=mobileclip/quickstart", "evaluators.zero_shot.dataset.samples=20",
             "evaluators.zero_shot.dataset.concepts=10", "evaluators.zero_shot.every_steps=4",
             "model.vocab_size=4096", "data.tokenizer.vocab_size=4096"),
    "detector": ("+recipe=catlip/detection_quickstart", "data.dataset.size=64",
                 "data.preprocess.size=64", "model.num_classes=10",
                 "evaluators.detection.dataset.samples=4", "evaluators.detection.dataset.size=64",
                 "evaluators.detection.dataset.concepts=10",
                 "evaluators.detection.every_steps=4"),
    "conversations": ("+recipe=aimv2/multimodal_quickstart", "data.tokenizer.concepts=10",
                      "evaluators.questions.dataset.samples=4",
                      "evaluators.questions.dataset.concepts=10",
                      "evaluators.questions.every_steps=4"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="clip", choices=RUNS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--parallel", default="ddp", choices=("ddp", "fsdp"))
    parser.add_argument("--then-ranks", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    if args.kills < 1:
        parser.error("--kills must be at least 1")
    draw = random.Random(args.seed)
    steps = 2 * (3 + args.kills)
    later = args.then_ranks or args.ranks
    micro_batch = BATCH // (2 * max(args.ranks, later))
    words = [*RUNS[args.run], *WORDS, f"engine.micro_batch={micro_batch}", *args.words,
             f"engine.steps={steps}", f"engine.parallel={args.parallel}"]
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted, killed = Path(folder) / "whole", Path(folder) / "killed"
        wait(start(words, uninterrupted, args.ranks))
        moments, resumed_from = [], []
        for number in range(args.kills):
            ranks = args.ranks if number < args.kills / 2 else later
            moments.append(kill_once(words, killed, ranks, draw, steps, number % 3 == 2))
            resumed_from.append(last_checkpoint(killed))
        wait(start(words, killed, later))
        expected, actual = read(uninterrupted / "metrics.jsonl"), read(killed / "metrics.jsonl")
        evaluations = [read(run / "evaluations.jsonl") for run in (uninterrupted, killed)]
    same_evaluations = evaluations[0] == evaluations[1]
    inside = sum(moment == "inside a checkpoint's writing" for moment in moments)
    then = f", then {later}" if args.then_ranks else ""
    print(f"{args.ranks} ranks{then}, {args.parallel}, {len(moments)} kills ({inside} inside a "
          f"checkpoint's writing): {', '.join(moments)}; went on from steps {resumed_from}")
    numbers = [record["step"] for record in actual]
    pairs = [(one["loss"], other["loss"]) for one, other in zip(expected, actual)]
    same = sum(one == other for one, other in pairs)
    differences = [abs(one - other) / one for one, other in pairs]
    first = [difference for difference in differences if difference][:5] or [0.0]
    print(f"steps {numbers[:1]} to {numbers[-1:]}, {len(numbers)} lines; {same} of {steps} losses "
          "equal to the bit, first differences "
          f"{', '.join(f'{difference:.0e}' for difference in first)} of the loss, largest "
          f"{max(differences):.0e}; evaluations {'equal' if same_evaluations else 'differ'}")
    before = resumed_from[(args.kills - 1) // 2]  # the step from which on it had other ranks
    equal = (not any(differences[:before]) and max(first) <= 1e-4 if args.then_ranks
             else same == steps and same_evaluations)
    continued = min(resumed_from) > 0 and max(resumed_from) < steps
    complete = numbers == list(range(1, steps + 1)) and len(evaluations[0]) == len(evaluations[1])
    return 0 if continued and complete and equal else 1


def start(words: list[str], run: Path, ranks: int) -> list[Any]:
    """Start the run on every rank, as torchrun would, with every process ours to kill."""
    return start_ranks("corekit-train", *words, f"run_dir={run}", folder=run.parent,
                       output=run.with_suffix(".txt"), ranks=ranks)


def wait(processes: list[Any]) -> None:
    """Until all have ended by themselves."""
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process of the run ended with status {process.exitcode}")


def kill_once(words: list[str], run: Path, ranks: int, draw: random.Random, steps: int,
              inside_write: bool) -> str:
    """Start the command, SIGKILL all of it at a random moment, and say which moment it was."""
    processes = start(words, run, ranks)
    metrics = run / "metrics.jsonl"
    before = metrics.stat().st_mtime_ns if metrics.is_file() else 0
    target = min(steps - 1, last_checkpoint(run) + draw.randint(1, 3))
    # until it has done some steps more than the ones it has kept, and has kept some
    while processes[0].is_alive():
        fresh = metrics.is_file() and metrics.stat().st_mtime_ns != before
        if fresh and len(read(metrics)) >= target and last_checkpoint(run):
            break
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.3))
    deadline = time.monotonic() + 20
    while inside_write and processes[0].is_alive() and time.monotonic() < deadline:
        if list((run / "checkpoints").glob("*.writing")):
            break
        time.sleep(0.0005)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    writing = bool(list((run / "checkpoints").glob("*.writing")))
    for process in processes:
        process.join()
    if processes[0].exitcode == 0:
        return "after the end"
    if writing:
        return "inside a checkpoint's writing"
    return f"after step {len(read(metrics))}"


def last_checkpoint(run: Path) -> int:
    """The step of the newest complete checkpoint; 0 where there is none."""
    return max((int(path.name.removeprefix("step_"))
                for path in (run / "checkpoints").glob("step_*") if not path.suffix), default=0)


def read(path: Path) -> list[dict[str, float]]:
    """The records of a ``.jsonl`` file; a last line that is half written is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


if __name__ == "__main__":
    sys.exit(main())
