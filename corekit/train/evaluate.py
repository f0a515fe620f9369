"""Models as evaluators take them, and the evaluation of what a run left behind."""

import json
import logging
from pathlib import Path

from torch import nn

from corekit.checkpoint.load import load_model, trained_folder
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup, connect, disconnect
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Evaluator
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EvaluationConfig, EvaluatorConfig, RunConfig
from corekit.records import append_record
from corekit.train.logger import figures

log = logging.getLogger(__name__)


def make_eval_model(model: nn.Module, config: RunConfig | EvaluationConfig, preprocess: Preprocess,
                    tokenizer: Tokenizer | None, ranks: ProcessGroup) -> EvalModel:
    """A model ready to be evaluated as its recipe says."""
    precision = Precision(config.engine.precision)
    return EvalModel(model, preprocess, tokenizer, ranks.device,
                     lambda: precision.autocast(ranks.device), ranks.rank, ranks.world, ranks.sum,
                     config.data.workers)


def build_evaluator(config: EvaluatorConfig, preprocess: Preprocess) -> Evaluator:
    """One of the recipe's evaluators."""
    evaluator: Evaluator = config.build("evaluator", preprocess=preprocess)
    return evaluator


def evaluate_checkpoint(config: EvaluationConfig) -> None:
    """Run the recipe's evaluators on the weights of ``checkpoint``; one line a figure, and a record
    of each.

    Raises:
        CorekitError: the weights do not fit the model, or the preprocessing asked for is not the
            one saved with them.
    """
    assert config.checkpoint is not None
    folder = trained_folder(config.checkpoint)
    ranks = connect(config.engine.parallel, config.engine.device)
    try:
        preprocess = Preprocess.load(folder / "preprocess.json")
        requested = Preprocess(**vars(config.data.preprocess))
        if preprocess != requested:
            raise CorekitError(f"data.preprocess asks for {requested}, but these weights were "
                               f"trained with {preprocess} ({folder}/preprocess.json): leave "
                               "data.preprocess out")
        evaluators = {each.label: build_evaluator(each, preprocess) for each in config.evaluators}
        model = load_model(config.model, config.seed, folder, ranks.device)
        tokenizer = config.data.tokenizer
        eval_model = make_eval_model(model, config, preprocess,
                                     None if tokenizer is None else tokenizer.build("tokenizer"),
                                     ranks)
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
