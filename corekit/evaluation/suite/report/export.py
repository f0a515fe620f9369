"""A suite's figures as other people's files, and the report that lies beside its record."""

import io
import json
from collections.abc import Sequence

from PIL import Image

from corekit.evaluation.suite.report.averages import main_figure
from corekit.evaluation.suite.report.names import GROUPS, OF_GROUP, SETS, TASKS, their_figure
from corekit.evaluation.suite.report.picture import suite_picture
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.report.table import result_table
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.store import SetRecord

Metrics = dict[str, float | None]


def report_files(sets: Sequence[EvalSet], results: Results, published: Sequence[Results],
                 model: str, pretrained: str) -> dict[str, bytes]:
    """The table as text and as a picture, and the figures for DataComp and CLIP_benchmark.

    ``model`` and ``pretrained`` are what CLIP_benchmark calls the model. ``clip_benchmark build``
    takes the folder of these files.
    """
    content = io.BytesIO()
    Image.fromarray(suite_picture(sets, results, published)).save(content, "PNG")
    return {"table.txt": (result_table(sets, results, published) + "\n").encode(),
            "table.png": content.getvalue(),
            "eval_results.jsonl": eval_results(sets, results).encode(),
            **clip_benchmark_files(sets, results, model, pretrained)}


def eval_results(sets: Sequence[EvalSet], results: Results) -> str:
    """DataComp's ``eval_results.jsonl``: a line a set, with its ``main_metric``."""
    lines = []
    for each in sets:
        record = results.records.get(each.key)
        if record is not None:
            metrics = {**_metrics(each, record), "main_metric": main_figure(record).value}
            lines.append({"key": each.key, "dataset": each.name, "metrics": metrics})
    return "".join(json.dumps(line) + "\n" for line in lines)


def clip_benchmark_files(sets: Sequence[EvalSet], results: Results, model: str,
                         pretrained: str) -> dict[str, bytes]:
    """CLIP_benchmark's JSON, a file a set, by name."""
    files = {}
    for each in sets:
        record = results.records.get(each.key)
        if record is not None:
            content = {"dataset": "wds/" + SETS.get(each.key, each.key), "model": model,
                       "pretrained": pretrained,
                       "task": TASKS.get(each.task, "zeroshot_classification"),
                       "metrics": _metrics(each, record), "language": "en"}
            name = f"clip_benchmark_{each.key.replace('/', '-')}.json"
            files[name] = (json.dumps(content) + "\n").encode()
    return files


def _metrics(each: EvalSet, record: SetRecord) -> Metrics:
    """The figures that others have a name for, and how many samples each group has."""
    metrics: Metrics = {}
    for name, figure in record.figures.items():
        theirs, of_group = their_figure(each, name), OF_GROUP.fullmatch(name)
        if theirs is not None:
            metrics[theirs] = figure.value
        if of_group:
            metrics[f"count_{GROUPS.get(each.key, 'group')}:{of_group[2]}"] = figure.samples
    return metrics
