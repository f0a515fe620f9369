"""Keep the losses that this machine computes now: ``python -m tests.golden.record``.

Only for another torch, or for a change that is meant to move losses and says why.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.pinned import run_pinned
from tests.golden.recipes import RECIPES, commands
from tests.golden.shards import SCENES, write_beside

HERE = Path(__file__).parent
NOT_KEPT = {"step", "samples_per_second", "data_wait", "peak_memory"}  # the clock's, the machine's
Steps = list[dict[str, float]]


def golden_file(torch_minor: str) -> Path:
    return HERE / f"torch_{torch_minor}.json"


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, Steps]]:
    """Train all six in a folder: what the machine is, and what every step of each was."""
    write_beside(folder)
    machine = run_pinned([SCENES, *commands()], folder)
    return machine, {name: read_steps(folder / name) for name in RECIPES}


def read_steps(run: Path) -> Steps:
    """Of a run's directory, per step: loss, its parts, gradient norm, learning rate, samples."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{name: value for name, value in record.items() if name not in NOT_KEPT}
            for record in records]


def as_text(machine: dict[str, Any], recipes: dict[str, Steps]) -> str:
    """JSON with a line a step, in which floats come back as they were, to the bit."""
    blocks = [f' "{name}": [\n' + ",\n".join(f"  {json.dumps(step)}" for step in steps) + "\n ]"
              for name, steps in recipes.items()]
    return f'{{"machine": {json.dumps(machine)},\n"recipes": {{\n' + ",\n".join(blocks) + "\n}}\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine, recipes = measure(Path(folder))
    path = golden_file(machine["torch_minor"])
    path.write_text(as_text(machine, recipes), encoding="utf-8")
    print(f"{path.name}: {', '.join(f'{name} {len(steps)}' for name, steps in recipes.items())}")


if __name__ == "__main__":
    main()
