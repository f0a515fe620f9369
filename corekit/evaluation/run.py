"""Evaluating what a run left behind."""

import json
import logging
from pathlib import Path
from typing import Any

from corekit.checkpoint.load import load_model, trained_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import connect, disconnect
from corekit.errors import CorekitError
from corekit.records import append_record
from corekit.train.assemble import build_evaluator, build_preprocess, build_tokenizer, make_eval_model
from corekit.train.logger import figures

log = logging.getLogger(__name__)


def evaluate_checkpoint(recipe: dict[str, Any]) -> None:
    """Run the recipe's evaluators on the weights of ``checkpoint``; one line a figure, and a record
    of each.

    Raises:
        CorekitError: the weights do not fit the model, or the preprocessing asked for is not the
            one saved with them.
    """
    folder = trained_folder(recipe["checkpoint"])
    ranks = connect(recipe["engine"]["parallel"], recipe["engine"]["device"])
    try:
        preprocess = Preprocess.load(folder / "preprocess.json")
        if preprocess != build_preprocess(recipe):
            raise CorekitError(
                f"data.preprocess asks for {build_preprocess(recipe)}, but these "
                f"weights were trained with "
                f"{preprocess} ({folder}/preprocess.json): leave data.preprocess out")
        evaluators = {
            label: build_evaluator(node, preprocess) for label, node in recipe["evaluators"].items()
        }
        model = load_model(recipe, folder, ranks.device)
        eval_model = make_eval_model(model, recipe, preprocess, build_tokenizer(recipe), ranks)
        step, samples = _progress(folder)
        for label, evaluator in evaluators.items():
            result = evaluator(eval_model)
            if ranks.is_first:
                where = append_record(_records_path(folder), result.record(step, samples, label))
                log.info(f"{label} on {result.samples} samples of {result.dataset}: "
                         f"{figures(result.metrics)}  ({where})")
    finally:
        disconnect()


def _progress(folder: Path) -> tuple[int | None, int | None]:
    """Steps and samples behind these weights, where a checkpoint says so."""
    counters = folder.resolve().parent / "counters.json"
    if not counters.is_file():
        return None, None
    content = json.loads(counters.read_text(encoding="utf-8"))
    return content["step"], content["samples"]


def _records_path(folder: Path) -> Path:
    """The run's ``evaluations.jsonl``, or a file beside a model folder that belongs to no run."""
    checkpoint = folder.resolve().parent
    run = checkpoint.parent.parent
    if checkpoint.parent.name == "checkpoints" and (run / "recipe.yaml").is_file():
        return run / "evaluations.jsonl"
    return folder.with_name(folder.name + ".evaluations.jsonl")
