"""Runs of corekit's commands that are compared over seeds: what the comparing scripts here have in
common.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Figures = Mapping[tuple[Any, ...], float]  # (side, ..., seed) -> what it reached


def command(folder: Path, name: str, *words: str) -> None:
    """Run one of corekit's commands, with one thread; what it says goes to ``name``.txt in the
    folder.
    """
    program = str(Path(sys.executable).with_name(words[0]))
    with open(folder / f"{name}.txt", "w") as said:
        status = subprocess.run([program, *words[1:]], stdout=said, stderr=subprocess.STDOUT,
                                env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
    if status:
        raise SystemExit(f"{' '.join(words)} ended with {status}; see {folder}/{name}.txt")


def reached(run: Path, evaluator: str, metric: str = "top1") -> float:
    """The last figure of an evaluator in a run's directory."""
    records = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    return float([record for record in records
                  if record["evaluator"] == evaluator][-1]["metrics"][metric])


def of(figures: Figures, *side: Any) -> list[float]:
    """The figures of a side, one for each seed."""
    return [figure for (*found, _), figure in figures.items() if tuple(found) == side]


def mean(figures: Figures, *side: Any) -> float:
    """Their mean."""
    return statistics.mean(of(figures, *side))


def told(figures: Figures, *side: Any) -> str:
    """Their mean and range, as people read them."""
    found = of(figures, *side)
    return f"{statistics.mean(found):.1%} ({min(found):.1%} to {max(found):.1%})"


def keep(path: Path, figures: Figures) -> None:
    """Write them for programs."""
    path.write_text(
        json.dumps([[*run, figure] for run, figure in figures.items()], indent=1) + "\n")
