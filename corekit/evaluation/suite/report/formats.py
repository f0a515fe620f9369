"""Other people's files of figures, read into the same records as corekit's own.

DataComp's ``eval_results.jsonl`` has a set a line; CLIP_benchmark's JSON a set a file, and its
``build`` a set a row; open_clip's CSV a model a row; the tables of published rows that projects
register a figure a row and a model a column. Sets are known by key, display name or folder.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from corekit.errors import CorekitError
from corekit.evaluation.figure import Figure, Figures
from corekit.evaluation.metrics.classification import LEAST_OF_GROUP
from corekit.evaluation.suite.report.names import GROUPS, OF_GROUP, find_set, our_figures
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.store import SetRecord
from corekit.records import Record

# means of 0 and 1 over all samples of a set, whose standard error their number tells
SHARES = ("top1", "top5", "accuracy", "text_accuracy", "image_accuracy", "group_accuracy",
          "image_to_text_r1", "image_to_text_r5", "image_to_text_r10")


def read_file(path: Path, sets: Sequence[EvalSet]) -> list[Results]:
    """The models of a file, or of a folder of CLIP_benchmark's JSON files.

    Sets that ``sets`` does not have are left out.

    Raises:
        CorekitError: the file is damaged, of none of these forms, or has none of the sets.
    """
    try:
        models = list(_models(path, sets))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorekitError(f"{path} cannot be read: {error}") from None
    if not any(model.records for model in models):
        raise CorekitError(f"{path} has figures of none of the {len(sets)} sets that are known")
    return models


def _models(path: Path, sets: Sequence[EvalSet]) -> Iterator[Results]:
    if path.suffix == ".jsonl":
        lines = [(f"{path}, line {number}", line) for number, line
                 in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line.strip()]
        records = [_of_metrics(sets, _mapping(where, line, ("key", "metrics")), where, "key")
                   for where, line in lines]
        yield Results(path.stem, {each.key: each for each in records if each is not None})
    elif path.suffix == ".csv":
        yield from _csv_models(path, sets)
    elif path.suffix == ".json" or path.is_dir():
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        rows = [(str(file), _mapping(str(file), file.read_text(encoding="utf-8"),
                                     ("dataset", "metrics", "model", "pretrained")))
                for file in files]
        yield from _clip_benchmarks(rows, sets)
    else:
        raise CorekitError(f"{path} has no figures that can be read: eval_results.jsonl of "
                           "DataComp, JSON of CLIP_benchmark, and CSV of open_clip can be")


def _mapping(where: str, text: str, keys: Sequence[str]) -> Record:
    """A JSON object, in which NaN may stand bare."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CorekitError(f"{where} is no JSON ({error}): it may be cut off") from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing or not isinstance(content["metrics"], dict):
        raise CorekitError(f"{where} has no {missing[0] if missing else 'mapping'} "
                           f"{'' if missing else 'of metrics '}as files of figures do")
    return dict(content)


def _clip_benchmarks(rows: Sequence[tuple[str, Record]],
                     sets: Sequence[EvalSet]) -> Iterator[Results]:
    models: dict[str, dict[str, SetRecord]] = {}
    for where, row in rows:
        language = row.get("language") or "en"
        name = f"{row['model']} {row['pretrained']}" + ("" if language == "en" else f" {language}")
        record = _of_metrics(sets, row, where, "dataset")
        of_model = models.setdefault(name, {})
        if record is not None:
            of_model[record.key] = record
    yield from (Results(name, records) for name, records in models.items())


def _csv_models(path: Path, sets: Sequence[EvalSet]) -> Iterator[Results]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or [])
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    for where, row in rows:
        if None in row or None in row.values():
            raise CorekitError(f"{where} has not as many cells as there are columns")
    if "model_fullname" in header:
        cells = [{name: text for name, text in row.items() if text} for _, row in rows]
        yield from _clip_benchmarks([(where, {**row, "metrics": figures}) for (where, row), figures
                                     in zip(rows, cells)], sets)
    elif header[:2] == ["key", "figure"]:
        yield from (_of_column(rows, name, sets) for name in header[2:])
    elif header[:2] == ["name", "pretrained"]:
        columns = {name: found for name in header if (found := find_set(sets, name)) is not None}
        for where, row in rows:
            records = {each.key: _record(each, {each.metric: _number(row[name], where, name)})
                       for name, each in columns.items() if row[name].strip()}
            yield Results(f"{row['name']} {row['pretrained']}", records)
    else:
        raise CorekitError(f"{path} has the columns {', '.join(header[:4])} ..., but open_clip's "
                           "CSV begins with name and pretrained, a table of published rows with "
                           "key and figure, and one of clip_benchmark has model_fullname")


def _of_column(rows: Sequence[tuple[str, Record]], model: str, sets: Sequence[EvalSet]) -> Results:
    """A model of a table of published rows; the first figure of a set is its main one."""
    by_key: dict[str, dict[str, float | None]] = {}
    for where, row in rows:
        if row[model].strip():
            by_key.setdefault(row["key"], {})[row["figure"]] = _number(row[model], where, model)
    records = {}
    for key, values in by_key.items():
        known = find_set(sets, key) or EvalSet(key, key, (), "", next(iter(values)))
        records[known.key] = replace(_record(known, values), metric=next(iter(values)))
    return Results(model, records)


def _of_metrics(sets: Sequence[EvalSet], row: Record, where: str, key: str) -> SetRecord | None:
    """The record of a set's ``metrics``; None for a set that is not known."""
    known = find_set(sets, str(row[key]))
    if known is None and "dataset" in row:
        known = find_set(sets, str(row["dataset"]))
    if known is None:
        return None
    metrics: Record = row["metrics"]
    values = {our: _number(metrics[their], where, their)
              for our, their in our_figures(known, metrics).items()}
    to_text, to_image = values.get("image_to_text_r1"), values.get("text_to_image_r1")
    main = _number(metrics.get("main_metric"), where, "main_metric")
    if to_text is not None and to_image is not None:  # of which CLIP_benchmark writes no mean
        values.setdefault("mean_r1", (to_text + to_image) / 2)
    if main is not None:
        values.setdefault(known.metric, main)
    counts = {name.rpartition(":")[2]: _number(metrics[name], where, name) for name in metrics
              if name.startswith(f"count_{GROUPS.get(known.key, 'group')}:")}
    return _record(known, values, {number: int(count) for number, count in counts.items()
                                   if count is not None})


def _record(each: EvalSet, values: Mapping[str, float | None],
            counts: Mapping[str, int] | None = None) -> SetRecord:
    """A record with standard errors where the number of samples tells them."""
    total = each.samples or 0
    figures: Figures = {}
    for name, value in values.items():
        of_group = OF_GROUP.fullmatch(name)
        samples = (counts or {}).get(of_group[2], 0) if of_group else total
        error = None
        if value is not None and samples and (of_group or name in SHARES):
            error = math.sqrt(value * (1 - value) / samples)
        if samples or not of_group:
            figures[name] = Figure(value, samples, error)
    for name in ("top1", "top5"):
        groups = [figure for of, figure in figures.items()
                  if of.startswith(f"{name}_group_") and figure.value is not None]
        large = [figure for figure in groups if figure.samples >= LEAST_OF_GROUP]
        for suffix, among in (("", groups), ("_of_100", large)):
            if among:
                figures[f"worst_group_{name}{suffix}"] = min(among, key=lambda one: one.value or 0)
    return SetRecord(each.key, each.name, each.task, each.metric, figures, total)


def _number(text: object, where: str, name: str) -> float | None:
    """A share; None for null, NaN and an empty cell."""
    if text is None or text == "":
        return None
    try:
        number = float(str(text))
    except ValueError:
        raise CorekitError(f"{where}: {name} is {str(text)[:40]!r}, which is no number") from None
    return None if math.isnan(number) else number
