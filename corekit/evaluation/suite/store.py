"""What a suite keeps of every set, so that a run that was killed goes on at the unfinished one."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corekit.evaluation.figure import Figures, Predictions
from corekit.files import remove, replacing

PREDICTIONS, RECORD = "predictions.npz", "record.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SetRecord:
    """The result of one set, as ``record.json`` has it.

    Attributes:
        key, name, task, metric: of its line of the table.
        figures: by name.
        samples, unreadable: how many were evaluated, and how many could not be.
        hashes: of what decides the predictions: weights, preprocess, precision, data, names,
            templates.
    """

    key: str
    name: str
    task: str
    metric: str
    figures: Figures
    samples: int
    unreadable: int = 0
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The figure that stands for the set."""
        return self.figures[self.metric].value if self.metric in self.figures else None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def set_folder(store: Path, key: str) -> Path:
    """Where a set is kept."""
    return store / key.replace("/", "-")


def kept_predictions(store: Path, key: str, hashes: Mapping[str, str]) -> Predictions | None:
    """The predictions of a set where they were made by the same model on the same data."""
    folder = set_folder(store, key)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        before = record["hashes"]
        if before != dict(hashes):
            changed = [name for name in hashes if before.get(name) != hashes[name]]
            log.warning("%s is evaluated anew: another %s than in %s", key, ", ".join(changed),
                        folder)
            return None
        with np.load(folder / PREDICTIONS, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile, zlib and numpy raise all kinds
        log.warning("%s cannot be read (%s): %s is evaluated anew", folder, error, key)
        return None


def keep(store: Path, record: SetRecord, predictions: Predictions) -> None:
    """Keep a set, whole or not at all."""
    with replacing(set_folder(store, record.key)) as folder:
        folder.mkdir()
        np.savez_compressed(folder / PREDICTIONS, **predictions)  # type: ignore[arg-type]
        text = json.dumps(record.to_json(), indent=1) + "\n"
        (folder / RECORD).write_text(text, encoding="utf-8")
        remove(set_folder(store, record.key))  # what another model or other data came to
