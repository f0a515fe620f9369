"""Tables of evaluation sets: a line of a CSV file for each set of a suite."""

import csv
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.signatures import nearest


@dataclass(frozen=True)
class EvalSet:
    """One evaluation set of a suite: a line of its table.

    Attributes:
        key: its name in records and in ``sets``, such as ``vtab/dtd``.
        name: what tables for people call it.
        folders: patterns of its folder below the suite's root; the first that is there counts.
        task: the entry of kind ``task`` that evaluates it.
        metric: the figure that stands for the set in the average.
        samples, captions, classes: how many there are; None: not checked.
        chance: the figure of guessing.
        group: the place among a sample's ``metadata`` of the group that worst-group figures are of.
        averages: names of the averages it is part of, beside that of the whole suite.
    """

    key: str
    name: str
    folders: tuple[str, ...]
    task: str
    metric: str
    samples: int | None = None
    captions: int | None = None
    classes: int | None = None
    chance: float | None = None
    group: int | None = None
    averages: tuple[str, ...] = ()


def read_table(table: str) -> list[EvalSet]:
    """The sets of a table: one of corekit's by its name, or a CSV file of one's own.

    Raises:
        CorekitError: there is no such table, or a line of it is none of a set.
    """
    own = _own_tables()
    if table in own:
        text = own[table].read_text(encoding="utf-8")
    elif table.endswith(".csv") and Path(table).is_file():
        text = Path(table).read_text(encoding="utf-8-sig")
    else:
        raise CorekitError(f"there is no table of evaluation sets '{table}'{nearest(table, own)}; "
                           "name a CSV file, or one of " + ", ".join(sorted(own)))
    return [_set(row, f"{table}, line {number}")
            for number, row in enumerate(csv.DictReader(text.splitlines()), 2)]


def known_sets() -> list[EvalSet]:
    """The sets of all of corekit's tables; of two with one key that of ``datacomp`` comes first."""
    tables = sorted(_own_tables(), key=lambda name: (name != "datacomp", name))
    by_key: dict[str, EvalSet] = {}
    for each in (each for table in tables for each in read_table(table)):
        by_key.setdefault(each.key, each)
    return [*by_key.values()]


def picked(sets: Sequence[EvalSet], patterns: Sequence[str]) -> list[EvalSet]:
    """The sets whose keys or names fit one of the patterns; none: all.

    Raises:
        CorekitError: a pattern fits no set.
    """
    for pattern in patterns:
        if not any(_fits(each, pattern) for each in sets):
            hint = nearest(pattern, [each.key for each in sets])
            raise CorekitError(f"no evaluation set fits '{pattern}'{hint}")
    return [each for each in sets
            if not patterns or any(_fits(each, pattern) for pattern in patterns)]


def _own_tables() -> dict[str, Path]:
    return {path.stem: path for path in Path(__file__).with_name("tables").glob("*.csv")}


def find_folders(table: str, root: str, sets: Sequence[EvalSet]) -> dict[str, str | None]:
    """The folder of each set below a suite's root, by key; None where it is not there.

    Raises:
        CorekitError: none of them is there.
    """
    folders = {each.key: _find_folder(root, each) for each in sets}
    if not any(folders.values()):
        raise CorekitError(f"{root} holds none of the {len(sets)} sets of table '{table}'; "
                           f"'{sets[0].key}' would be a folder {' or '.join(sets[0].folders)}")
    return folders


def _find_folder(root: str, eval_set: EvalSet) -> str | None:
    """The first of a set's patterns that is there."""
    storage = Storage(root)
    for pattern in eval_set.folders:
        if storage.is_local and set(pattern) & set("*?["):
            found = sorted(path for path in Path(storage.url).iterdir()
                           if fnmatch.fnmatchcase(path.name, pattern) and path.is_dir())
            if found:
                return str(found[0])
        elif Storage(f"{storage.url}/{pattern}").is_folder():
            return f"{storage.url}/{pattern}"
    return None


def _fits(each: EvalSet, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(word, pattern) for word in (each.key, each.name))


def _set(row: dict[str, str], where: str) -> EvalSet:
    unknown = [name for name in row if name not in {item.name for item in fields(EvalSet)}]
    if unknown or None in row.values():
        raise CorekitError(f"{where}: a table of evaluation sets has the columns "
                           f"{', '.join(item.name for item in fields(EvalSet))}")
    try:
        return EvalSet(
            row["key"], row["name"], _words(row["folders"]), row["task"], row["metric"],
            samples=_number(row, "samples"), captions=_number(row, "captions"),
            classes=_number(row, "classes"), group=_number(row, "group"),
            chance=float(row["chance"]) if row.get("chance") else None,
            averages=_words(row.get("averages", "")))
    except (KeyError, ValueError) as error:
        raise CorekitError(f"{where} is no evaluation set: {error}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(";") if word)


def _number(row: dict[str, str], name: str) -> int | None:
    return int(row[name]) if row.get(name) else None
