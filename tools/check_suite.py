"""Kill a suite at random moments, go on, and compare it with one that was left alone.

    python tools/check_suite.py [--kills 10] [--ranks 1] [--workers 0] [--sets FOLDER]

The sets are those of tools/make_evaluation_sets.py, of every task. Exits with 0 where no finished
set was evaluated again, the bytes of all predictions and figures are those of the suite that was
left alone on one rank, every distinct sentence was encoded once, and a finished set costs less than
0.1 s. Prints what a second evaluation from kept features costs, too.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands import start, start_ranks
from safetensors import safe_open

DONE = re.compile(r"sets \d+/\d+ (\S+): (.*)")
KEPT = "kept from before"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        sets = (args.sets or make_sets(here / "sets")).absolute()
        wait([start("corekit-train", "+recipe=mobileclip/quickstart", "engine.steps=2",
                    "engine.batch_size=16", "engine.micro_batch=16", "~evaluators.zero_shot",
                    "schedule.warmup_steps=1", "run_dir=run", folder=here,
                    output=here / "train")], here / "train")
        words = ["checkpoint=run", "+evaluation=datacomp", f"data.root={sets}",
                 f"evaluators.datacomp.table={sets / 'sets.csv'}"]
        whole, first = evaluate(here, [*words, "store=whole"], 1)
        for record in (here / "whole").glob("*/*/record.json"):
            shutil.move(record.parent, here / f"before_{record.parent.name}")
        _, second = evaluate(here, [*words, "store=whole"], 1)
        words += ["store=killed", f"data.workers={args.workers}"]
        killed_after, again = [], []
        for number in range(args.kills):
            finished = kept_sets(here / "killed")
            target = draw.randint(len(finished), min(len(finished) + 1, len(whole) - 1))
            output = here / f"killed{number}"
            kill(start_ranks("corekit-eval", *words, folder=here, output=output, ranks=args.ranks),
                 output, target, draw.random() * 0.5)
            lines = dict(DONE.findall(output.read_text()))
            again += [key for key in finished if key in lines and KEPT not in lines[key]]
            killed_after.append(len(kept_sets(here / "killed")))
            if killed_after[-1] == len(whole):
                break
        last, _ = evaluate(here, words, args.ranks)
        _, seconds = evaluate(here, words, 1)
        cost = seconds / (len(whole) - 1)
        same = compare(here / "whole", here / "killed")
        sentences = {name: count_sentences(here / name) for name in ("whole", "killed")}
    print(f"{args.ranks} ranks, {args.workers} workers, killed with so many of {len(whole)} sets "
          f"finished: {killed_after}; evaluated again: {again or 'none'}")
    print(f"last run: {sum(KEPT in line for line in last.values())} sets kept from before; bytes "
          f"{'equal' if same else 'DIFFERENT'}; a finished set costs {cost:.3f} s")
    print(f"all sets but the first: {first:.1f} s, from kept features {second:.1f} s: "
          f"{first / second:.0f} x")
    for name, (encoded, distinct) in sentences.items():
        print(f"{name}: {encoded} sentences encoded, {distinct} distinct")
    good = same and not again and cost < 0.1 and all(
        encoded <= 1.01 * distinct for encoded, distinct in sentences.values())
    return 0 if good else 1


def make_sets(folder: Path) -> Path:
    """The sets of every task."""
    tool = Path(__file__).with_name("make_evaluation_sets.py")
    subprocess.run([sys.executable, str(tool), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return folder


def evaluate(folder: Path, words: Sequence[str], ranks: int) -> tuple[dict[str, str], float]:
    """The line of each set of a suite that is left alone; the seconds from the first to the last.
    """
    output, seen = folder / "evaluated", list[float]()
    output.unlink(missing_ok=True)
    processes = start_ranks("corekit-eval", *words, folder=folder, output=output, ranks=ranks)
    while processes[0].is_alive():
        lines = len(DONE.findall(output.read_text() if output.is_file() else ""))
        seen += [time.monotonic()] * (lines - len(seen))
        time.sleep(0.001)
    wait(processes, output)
    return dict(DONE.findall(output.read_text())), seen[-1] - seen[0]


def kill(processes: Sequence[Any], output: Path, finished: int, seconds: float) -> None:
    """Kill all ranks some time after so many sets are done, or kept."""
    while len(DONE.findall(output.read_text() if output.is_file() else "")) < finished:
        if not processes[0].is_alive():
            return
        time.sleep(0.005)
    time.sleep(seconds)
    for process in processes:
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()


def wait(processes: Sequence[Any], output: Path) -> None:
    """Let processes end; stop where one fails."""
    for process in processes:
        process.join()
        if process.exitcode:
            sys.exit(f"a command ended with status {process.exitcode}: "
                     + output.with_name(f"{output.name}.err").read_text()[-500:])


def kept_sets(store: Path) -> set[str]:
    """The sets that are finished."""
    return {json.loads(path.read_text())["key"] for path in store.glob("*/*/record.json")}


def compare(whole: Path, killed: Path) -> bool:
    """Whether all that is kept of the sets has the same bytes."""
    of = [{path.relative_to(base): path.read_bytes() for name in ("record.json", "predictions.npz")
           for path in base.glob(f"*/*/{name}")} for base in (whole, killed)]
    return of[0] == of[1] and len(of[0]) > 0


def count_sentences(store: Path) -> tuple[int, int]:
    """Sentences whose features are kept, with repetitions and without."""
    sentences: list[str] = []
    for path in store.glob("*/features/text_*/*.safetensors"):
        with safe_open(path, "pt") as file:
            sentences += json.loads(file.metadata()["sentences"])
    return len(sentences), len(set(sentences))


if __name__ == "__main__":
    sys.exit(main())
