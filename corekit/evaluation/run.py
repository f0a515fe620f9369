"""Models as evaluators take them, and the evaluation of what a run left behind."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from corekit.checkpoint.foreign.find import find_foreign
from corekit.checkpoint.load import identity, load_for_evaluation, place_of
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup, joined
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.stored_features import digest
from corekit.files import lock
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EvaluationConfig, RunConfig

# evaluators that go on where they were killed
KEEPING = ("suite", "question_answering", "captioning")

Progress = tuple[int | None, int | None]  # steps and samples behind weights, where they are known
Report = Callable[[Path, Progress, str, Result], None]  # with the weights' folder and a label


def make_eval_model(model: nn.Module, config: RunConfig | EvaluationConfig, preprocess: Preprocess,
                    tokenizer: Callable[[Sequence[str]], Tensor] | None,
                    ranks: ProcessGroup) -> EvalModel:
    """A model ready to be evaluated as its recipe says."""
    precision = Precision(config.engine.precision)
    return EvalModel(model, preprocess, tokenizer, ranks.device,
                     lambda: precision.autocast(ranks.device), ranks.rank, ranks.world, ranks.sum,
                     config.data.workers, config.engine.precision)


def evaluate_checkpoint(config: EvaluationConfig, report: Report) -> None:
    """Run the recipe's evaluators on the weights of ``checkpoint``; the first rank reports.

    Raises:
        CorekitError: an evaluator could not read too many of its samples; all have reported before.
    """
    assert config.checkpoint is not None
    with joined(config.engine.parallel, config.engine.device) as ranks:
        folder, progress = ranks.broadcast(_pinned(place_of(config.checkpoint)))
        # before the evaluators, whose data may take its time
        loaded = load_for_evaluation(config, folder, ranks.device)
        evaluators = {each.label: each.build("evaluator", preprocess=loaded.preprocess)
                      for each in config.evaluators}
        eval_model = make_eval_model(loaded.model, config, loaded.preprocess, loaded.tokenizer,
                                     ranks)
        problems = []
        with keeping(eval_model, config, folder) as eval_model:
            for each in config.evaluators:
                result = evaluators[each.label](eval_model)
                if ranks.is_first:
                    report(folder, progress, each.label, result)
                problems.append(result.problem(each))
        if any(problems):
            raise CorekitError("; ".join(filter(None, problems)))


@contextmanager
def keeping(eval_model: EvalModel, config: EvaluationConfig, folder: Path) -> Iterator[EvalModel]:
    """The model with the folder where suites keep sets and others replies, for one command at once.

    It is named by a hash of the weights, the model and the tokenizer, below ``store``.

    Raises:
        CorekitError: nothing can be written there, or another command is at work.
    """
    if not config.store and not any(each.name in KEEPING for each in config.evaluators):
        yield eval_model
        return
    checkpoint, tokenizer = str(config.checkpoint), config.data.tokenizer
    # a run's link may name another folder by now
    files = identity(checkpoint if find_foreign(checkpoint) else folder)
    fingerprint = digest({"files": files, "model": config.model.to_plain(),
                          "tokenizer": tokenizer.to_plain() if tokenizer else None})
    base = Path(config.store).expanduser() if config.store else store_beside(folder)
    store = base / fingerprint[:16]
    with ExitStack() as stack:
        if eval_model.rank == 0:
            try:
                store.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(store / "lock", patience=1))
            except BlockingIOError:
                raise CorekitError(f"another corekit-eval of these weights is at work in {store}: "
                                   "wait until it ends, or type store=ANOTHER_FOLDER") from None
            except OSError as error:
                raise CorekitError(f"{store} cannot be written to ({error.strerror}), so that "
                                   "nothing would be kept: type store=FOLDER") from None
        yield replace(eval_model, name=checkpoint, fingerprint=fingerprint, store=store,
                      features=store / "features" if config.store else None)


def store_beside(folder: Path) -> Path:
    """Where suites keep what they need to go on, unless ``store`` says it."""
    return records_path(folder).with_suffix("") / "suite"


def records_path(folder: Path) -> Path:
    """The run's ``evaluations.jsonl``, or a file beside a model folder that belongs to no run."""
    checkpoint = folder.resolve().parent
    run = checkpoint.parent.parent
    if checkpoint.parent.name == "checkpoints" and (run / "recipe.yaml").is_file():
        return run / "evaluations.jsonl"
    return folder.with_name(folder.name + ".evaluations.jsonl")


def _pinned(folder: Path) -> tuple[Path, Progress]:
    """The folder, of the checkpoint that a run's link names now, and its steps and samples.

    Training moves the link on, and may remove the checkpoint, while an evaluation is under way.
    """
    counters = folder.resolve().parent / "counters.json"
    if not counters.is_file():
        return folder, (None, None)
    content = json.loads(counters.read_text(encoding="utf-8"))
    return folder.resolve(), (content["step"], content["samples"])
