"""Records of a run: ``metrics.jsonl`` and ``evaluations.jsonl``, a JSON object a line."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corekit.files import write_text

Record = dict[str, Any]  # a JSON object


def append_record(path: Path, record: Mapping[str, object]) -> Path:
    """Add a line to a ``.jsonl`` file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return path


def read_records(path: Path) -> list[Record]:
    """The records of a ``.jsonl`` file, without a last line that was cut off."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def cut_back(path: Path, step: int) -> None:
    """Keep the records up to a step: later ones are of work that is done again."""
    if path.is_file():
        records = [record for record in read_records(path) if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def best_evaluation(path: Path, keep_best: str | None) -> tuple[float, int] | None:
    """(value, step) of the highest figure of EVALUATOR/METRIC, the first of equals, or None.

    What ``corekit-eval`` added, perhaps on other data, does not count.
    """
    label, _, metric = (keep_best or "").rpartition("/")
    records = [record for record in read_records(path)
               if record["evaluator"] == label and "by" not in record]
    figures = [(record["metrics"][metric], record["step"]) for record in records
               if math.isfinite(record["metrics"].get(metric, math.nan))]
    return max(figures, key=lambda figure: figure[0], default=None)


def flat(node: object, prefix: str = "") -> dict[str, object]:
    """The values of nested mappings by dotted keys; an empty mapping below another is a value."""
    if not isinstance(node, Mapping) or (not node and prefix):
        return {prefix.rstrip("."): node}
    return {key: value for name, item in node.items()
            for key, value in flat(item, f"{prefix}{name}.").items()}


def changes(before: Mapping[str, object], now: Mapping[str, object], keys: Iterable[str]) -> str:
    """What some keys were and are, for a message; of many the first four."""
    return "; ".join(f"{key} was {before.get(key, 'absent')}, is {now.get(key, 'absent')}"
                     for key in list(keys)[:4])


def figures(metrics: Mapping[str, float]) -> str:
    """Metrics as people read them."""
    return ", ".join(f"{name} {value:.2%}" for name, value in metrics.items())
