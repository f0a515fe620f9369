"""Models as evaluators take them, and the evaluation of what a run left behind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from corekit.checkpoint.load import load_model, trained_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup, connect, disconnect
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EvaluationConfig, RunConfig

Report = Callable[[Path, str, Result], None]  # folder of the weights, label of the evaluator


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
        evaluators = {each.label: each.build("evaluator", preprocess=preprocess)
                      for each in config.evaluators}
        model = load_model(config.model, config.seed, folder, ranks.device)
        tokenizer = config.data.tokenizer.build("tokenizer") if config.data.tokenizer else None
        eval_model = make_eval_model(model, config, preprocess, tokenizer, ranks)
        for label, evaluator in evaluators.items():
            result = evaluator(eval_model)
            if ranks.is_first:
                report(folder, label, result)
    finally:
        disconnect()
