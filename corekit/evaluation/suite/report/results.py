"""Results of one model on sets of a suite: from what a suite kept, or from a file of figures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from corekit.errors import CorekitError
from corekit.evaluation.figure import Figure, Predictions
from corekit.evaluation.suite.store import PREDICTIONS, RECORD, SetRecord, set_folder
from corekit.records import Record


@dataclass(frozen=True)
class Results:
    """The records of one model by the keys of their sets; ``store`` has predictions, if any."""

    name: str
    records: Mapping[str, SetRecord]
    store: Path | None = None

    def predictions(self, key: str) -> Predictions | None:
        """What was predicted of a set; None where only figures are known.

        Raises:
            CorekitError: the file cannot be read.
        """
        if self.store is None:
            return None
        path = set_folder(self.store, key) / PREDICTIONS
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # zipfile, zlib and numpy raise all kinds
            raise CorekitError(f"{path} cannot be read ({error}): evaluate {key} anew") from None


def find_store(place: Path) -> Path | None:
    """The folder of kept sets that a place means; None where there is none.

    A place is such a folder itself, a ``store`` above several models', or a run, a model folder or
    another model's name that a suite was evaluated on. Of several models the one evaluated last
    counts.
    """
    whole = place.resolve()
    beside = whole.with_name(whole.name + ".evaluations")
    for stores in ([place], *(sorted(base.glob("*/")) for base in (
            place, place / "suite", place / "evaluations" / "suite", beside / "suite"))):
        newest = [(max(record.stat().st_mtime for record in records), store) for store in stores
                  if (records := list(store.glob(f"*/{RECORD}")))]
        if newest:
            return max(newest)[1]
    return None


def read_store(store: Path, name: str) -> Results:
    """All sets that a folder keeps.

    Raises:
        CorekitError: a record of it cannot be read.
    """
    records = [read_record(path) for path in sorted(store.glob(f"*/{RECORD}"))]
    return Results(name, {record.key: record for record in records}, store)


def read_record(path: Path) -> SetRecord:
    """The record of one set; a CorekitError where the file is none."""
    try:
        content: Record = json.loads(path.read_text(encoding="utf-8"))
        figures = {name: Figure(**figure) for name, figure in content.pop("figures").items()}
        known = {each.name for each in fields(SetRecord)}
        return SetRecord(figures=figures,
                         **{name: value for name, value in content.items() if name in known})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorekitError(f"{path} is no record of an evaluation set ({error}): evaluate the set "
                           "anew") from None
