"""Runs of corekit's commands that scripts compare over seeds.

Finished runs are kept, so the same command goes on after an interruption.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timing import parser

Figures = Mapping[tuple[Any, ...], float]  # (side, ..., seed) -> what it reached


def options(description: str | None, folder: str, jobs: int | None = None,
            **numbers: float) -> argparse.ArgumentParser:
    """A parser with the options of every such script; without ``jobs``, runs come one by one."""
    options = parser(description, seeds=3, **numbers)
    options.add_argument("--folder", type=Path, default=Path(folder))
    if jobs is not None:
        options.add_argument("--jobs", type=int, default=jobs, help="commands at one time")
    return options


def cores() -> int:
    return os.cpu_count() or 1


def command(folder: Path, name: str, *words: str) -> None:
    """Run one of corekit's commands, with one thread; its output goes to FOLDER/``name``.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).with_name(words[0]))
    with open(folder / f"{name}.txt", "w") as output:
        status = subprocess.run([program, *words[1:]], stdout=output, stderr=subprocess.STDOUT,
                                env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {status}; see {folder}/{name}.txt")


def run_all(order: Iterable[tuple[Any, ...]], reach: Callable[..., float], jobs: int) -> Figures:
    """What every run reaches, so many at one time."""
    order = list(order)
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(order, pool.map(lambda run: reach(*run), order)))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reached(run: Path, evaluator: str) -> float:
    """The last top-1 of an evaluator in a run's directory."""
    metrics = [record["metrics"] for record in records(run / "evaluations.jsonl")
               if record["evaluator"] == evaluator]
    return float(metrics[-1]["top1"])


def of(figures: Figures, *side: Any) -> list[float]:
    """The figures of a side, one for each seed."""
    return [figure for (*name, _), figure in figures.items() if tuple(name) == side]


def mean(figures: Figures, *side: Any) -> float:
    return statistics.mean(of(figures, *side))


def summary(values: Iterable[float]) -> str:
    """Mean and range, as people read them."""
    values = list(values)
    return f"{statistics.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def keep(path: Path, figures: Figures) -> None:
    rows = [[*run, figure] for run, figure in figures.items()]
    path.write_text(json.dumps(rows, indent=1) + "\n")
