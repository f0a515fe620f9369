"""The ``suite`` evaluator: the sets of a table under one folder, and their average."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from corekit import registry
from corekit.data.loading.read_ahead import ReadAhead
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.figure import Predictions
from corekit.evaluation.stored_features import are_stored, data_version, digest
from corekit.evaluation.suite.progress import Progress
from corekit.evaluation.suite.report.averages import WHOLE, averages
from corekit.evaluation.suite.report.export import report_files
from corekit.evaluation.suite.report.picture import suite_picture
from corekit.evaluation.suite.report.published import find_results
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.report.table import result_table
from corekit.evaluation.suite.sets import EvalSet, find_folders, picked, read_table
from corekit.evaluation.suite.store import SetRecord, keep, kept_predictions
from corekit.evaluation.suite.tasks.base import Task
from corekit.evaluation.text_features import TextFeatures
from corekit.registry import register

log = logging.getLogger(__name__)


@register("evaluator", "suite")
class Suite:
    """Every set of a table that lies under a folder, and the average of their main figures.

    Predictions of a set are kept whole or not at all, with hashes of all that decides them. Sets
    that are kept are not evaluated again, so that a suite that was killed goes on at the unfinished
    one. There is an average only where every set of the table was evaluated.

    Args:
        table: one of corekit's tables (datacomp, vtab, ...), or a CSV file of one's own.
        root: the folder that holds the sets' folders.
        sets: patterns of the sets to evaluate, by key or name, such as ``imagenet*``; none: all.
        batch_size: images of one forward pass.
        check: refuse sets that have not as many samples, captions or classes as the table says.
        keep_features: keep the features of images and sentences too, beside the predictions.
        published: rows beside which the figures are printed, such as ``mobileclip/mobileclip_s0``
            or ``open_clip/ViT-B-16 openai``; or files of figures.

    Raises:
        CorekitError: there is no such table, no set of it is there, or one is not what it says.
    """

    def __init__(self, table: str, root: str | None, sets: list[str] | None = None,
                 batch_size: int = 256, check: bool = True, keep_features: bool = True,
                 published: list[str] | None = None) -> None:
        self.table, self.keep_features = Path(table).stem, keep_features
        self.sets = read_table(table)
        self.published = [row for word in published or [] for row in find_results(word, self.sets)]
        self.tasks: dict[str, Task] = {}
        self.picked = picked(self.sets, sets or [])
        if root is None:
            return
        folders = find_folders(table, root, self.picked)
        missing = [key for key, folder in folders.items() if folder is None]
        if missing:
            log.warning("%d of %d sets are not under %s: %s", len(missing), len(self.picked), root,
                        ", ".join(missing))
        for each in self.picked:
            folder = folders[each.key]
            if folder is not None:
                expected = each if check else replace(each, samples=None, captions=None,
                                                      classes=None)
                self.tasks[each.key] = registry.build("task", each.task, supplied={
                    "folder": folder, "eval_set": expected, "batch_size": batch_size})

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; all figures are the same on any number of ranks."""
        store = eval_model.store
        if store is not None and self.keep_features and eval_model.features is None:
            eval_model = replace(eval_model, features=store / "features")
        texts, by_key = TextFeatures(eval_model), {each.key: each for each in self.sets}
        hashes = {key: _hashes(eval_model, task) for key, task in self.tasks.items()}
        kept = {key: _kept(eval_model, key, hashes[key]) for key in self.tasks}
        progress = Progress(self.table, {key: int(task.source.shard_sizes.sum())
                                         for key, task in self.tasks.items()})
        sources = [task.source for key, task in self.tasks.items() if kept[key] is None
                   and not are_stored(eval_model, task.source)]
        records = []
        with closing(ReadAhead(sources)) as ahead:
            eval_model = replace(eval_model, progress=progress.advance, ahead=ahead)
            for key, task in self.tasks.items():
                started, predictions = time.monotonic(), kept[key]
                if predictions is None:
                    progress.begin(key)
                    predictions = _predicted(eval_model, key, task, texts)
                record = _record(by_key[key], task, predictions, hashes[key])
                is_new = kept[key] is None
                if is_new and eval_model.store is not None and eval_model.rank == 0:
                    keep(eval_model.store, record, predictions)
                progress.end(key, record, time.monotonic() - started, was_kept=not is_new)
                records.append(record)
                kept[key] = None  # held no longer
        return self._result(eval_model.name, records)

    def _result(self, name: str, records: Sequence[SetRecord]) -> Result:
        results = Results(name, {record.key: record for record in records})
        means = [each for each in averages(self.sets, results.records) if each.figure is not None]
        values = {record.key: record.value for record in records}
        values |= {each.name if each.name == WHOLE else f"{WHOLE}_{each.name}":
                   each.figure.value for each in means if each.figure is not None}
        table = result_table(self.sets, results, self.published)
        return Result(
            {key: value for key, value in values.items() if value is not None}, self.table,
            sum(record.samples for record in records),
            {"sets": suite_picture(self.sets, results, self.published)},
            {**report_files(self.sets, results, self.published, name, "corekit")},
            {"sets": {record.key: {key: asdict(figure) for key, figure in record.figures.items()}
                      for record in records},
             "hashes": {record.key: dict(record.hashes) for record in records}},
            sum(record.unreadable for record in records), table)


def _kept(eval_model: EvalModel, key: str, hashes: Mapping[str, str]) -> Predictions | None:
    """The predictions of a set where every rank finds them."""
    if eval_model.store is None:
        return None
    kept = kept_predictions(eval_model.store, key, hashes)
    return kept if eval_model.all_agree(kept is not None) else None


def _predicted(eval_model: EvalModel, key: str, task: Task, texts: TextFeatures) -> Predictions:
    try:
        return task.predict(eval_model, texts)
    except CorekitError as error:
        raise CorekitError(f"{key}: {error}") from None


def _record(each: EvalSet, task: Task, predictions: Predictions,
            hashes: Mapping[str, str]) -> SetRecord:
    instances = getattr(task.source, "instances", None)
    total = int(task.source.shard_sizes.sum()) if instances is None else len(instances)
    count = task.count(predictions)
    return SetRecord(each.key, each.name, each.task, each.metric, task.figures(predictions), count,
                     total - count, hashes)


def _hashes(eval_model: EvalModel, task: Task) -> dict[str, str]:
    """Hashes of all that decides the predictions of a set."""
    return {"weights": eval_model.fingerprint,
            "preprocess": digest(asdict(eval_model.preprocess)),
            "precision": eval_model.precision, "data": data_version(task.source),
            "names": digest(list(task.names)), "templates": digest(list(task.templates))}
