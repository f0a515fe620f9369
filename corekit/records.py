"""Records of a run: ``metrics.jsonl`` and ``evaluations.jsonl``, a JSON object a line."""

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corekit.files import write_text

log = logging.getLogger(__name__)

Record = dict[str, Any]  # a JSON object

# what every record has; step is None for weights that belong to no run
TYPES = {"step": int | None, "evaluator": str, "metrics": dict}


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add a line to a ``.jsonl`` file, whose last one may be cut off."""
    line = json.dumps(record) + "\n"
    with open(path, "a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else "\n" + line
        file.write(line.encode())


def read_records(path: Path) -> list[Record]:
    """The records of a ``.jsonl`` file, without lines that are none."""
    records = [_record(line, path.name) for line in _lines(path)]
    return [record for record in records if record is not None]


def cut_back(path: Path, step: int) -> None:
    """Keep the records up to a step: later ones are of work that is done again.

    Lines that are no records are kept in a file beside it, but for a last one that was cut off.
    """
    if not path.is_file():
        return
    lines = _lines(path)
    strange = [line for line in lines[:-1] if line.strip() and _record(line, path.name) is None]
    if strange:
        beside = path.with_name(path.name + ".unreadable")
        with open(beside, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in strange)
        log.warning("%s: %d lines are no records of a run; they are in %s now", path, len(strange),
                    beside.name)
    kept = [record for record in read_records(path)
            if record["step"] is None or record["step"] <= step]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def _lines(path: Path) -> list[str]:
    """The lines of a file, and what follows its last line break."""
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")


def _record(line: str, file: str) -> Record | None:
    """A line's record; None where it has none of this file."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    keys = ["step"] if file == "metrics.jsonl" else TYPES
    fits = isinstance(record, dict) and all(
        key in record and isinstance(record[key], TYPES[key]) for key in keys)
    return record if fits else None


def best_evaluation(path: Path, keep_best: str | None) -> tuple[float, int] | None:
    """(value, step) of the highest figure of EVALUATOR/METRIC, the first of equals, or None.

    What ``corekit-eval`` added, perhaps on other data, does not count, nor do failed evaluations.
    """
    label, _, metric = (keep_best or "").rpartition("/")
    records = [record for record in read_records(path)
               if record["evaluator"] == label and not {"by", "failed"} & record.keys()]
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
    """Metrics as people read them: fractions of 1 in percent, and points, which are above 10."""
    return ", ".join(f"{name} {value:.2f}" if value > 10 else f"{name} {value:.2%}"
                     for name, value in metrics.items())
