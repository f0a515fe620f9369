"""Models as evaluators take them, and the evaluation of what a run left behind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from corekit.checkpoint.load import load_model, trained_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup, joined
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EvaluationConfig, RunConfig

Progress = tuple[int | None, int | None]  # steps and samples behind weights, where they are known
Report = Callable[[Path, Progress, str, Result], None]  # with the weights' folder and a label


def make_eval_model(model: nn.Module, config: RunConfig | EvaluationConfig, preprocess: Preprocess,
                    tokenizer: Callable[[Sequence[str]], Tensor] | None,
                    ranks: ProcessGroup) -> EvalModel:
    """A model ready to be evaluated as its recipe says."""
    precision = Precision(config.engine.precision)
    return EvalModel(model, preprocess, tokenizer, ranks.device,
                     lambda: precision.autocast(ranks.device), ranks.rank, ranks.world, ranks.sum,
                     config.data.workers)


def evaluate_checkpoint(config: EvaluationConfig, report: Report) -> None:
    """Run the recipe's evaluators on the weights of ``checkpoint``; the first rank reports.

    The preprocessing is the one saved with the weights: another one in the recipe is refused.

    Raises:
        CorekitError: an evaluator could not read too many of its samples; all have reported before.
    """
    assert config.checkpoint is not None
    with joined(config.engine.parallel, config.engine.device) as ranks:
        folder, progress = ranks.broadcast(_pinned(trained_folder(config.checkpoint)))
        preprocess = Preprocess.load(folder / "preprocess.json")
        requested = Preprocess(**vars(config.data.preprocess))
        if preprocess != requested:
            raise CorekitError(f"data.preprocess asks for {requested}, but these weights were "
                               f"trained with {preprocess} ({folder}/preprocess.json): leave "
                               "data.preprocess out")
        # before the evaluators, whose data may take its time
        model = load_model(config.model, config.seed, folder, ranks.device)
        evaluators = {each.label: each.build("evaluator", preprocess=preprocess)
                      for each in config.evaluators}
        tokenizer = config.data.tokenizer.build("tokenizer") if config.data.tokenizer else None
        eval_model = make_eval_model(model, config, preprocess, tokenizer, ranks)
        problems = []
        for each in config.evaluators:
            result = evaluators[each.label](eval_model)
            if ranks.is_first:
                report(folder, progress, each.label, result)
            problems.append(result.problem(each))
        if any(problems):
            raise CorekitError("; ".join(filter(None, problems)))


def _pinned(folder: Path) -> tuple[Path, Progress]:
    """The folder, of the checkpoint that a run's link names now, and its steps and samples.

    Training moves the link on, and may remove the checkpoint, while an evaluation is under way.
    """
    counters = folder.resolve().parent / "counters.json"
    if not counters.is_file():
        return folder, (None, None)
    content = json.loads(counters.read_text(encoding="utf-8"))
    return folder.resolve(), (content["step"], content["samples"])
