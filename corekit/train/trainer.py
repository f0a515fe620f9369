"""The training loop: one story for one process or many."""

import math
from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from corekit.checkpoint.init_from import training_mode
from corekit.checkpoint.training_state import Counters
from corekit.data.datasets.base import LEFT_OUT
from corekit.data.image_grid import captioned_grid
from corekit.data.loading.loader import Batch, split, step_batches
from corekit.errors import CorekitError
from corekit.evaluation.base import Result
from corekit.records import best_evaluation, read_records
from corekit.train.assemble import Run
from corekit.train.logger import RunLogger
from corekit.train.signals import StopSignals
from corekit.train.update import update

PICTURED = 16
FEW = 10_000  # samples that the allowed share of bad ones is taken of, until there are more


def train(run: Run, counters: Counters, logger: RunLogger, signals: StopSignals) -> bool:
    """Train from where the counters stand to the last step, or to where the run is asked to end.

    Returns:
        whether the last step was reached.

    Raises:
        CorekitError: a loss that is not finite, too many bad samples, or a checkpoint that cannot
            be written.
    """
    training_mode(run.plain_model)
    _run_missed_evaluations(run, counters, logger)
    pending: dict[str, int] = {}
    parts = step_batches(run.streams, counters.step, run.steps, run.workers)
    for step in range(counters.step, run.steps):
        with logger.waiting():
            part = next(parts)
        if step == 0:
            _show_batch(logger, part.batch)
        run.optimizer.zero_grad()
        losses, (asked, stop) = run.step(split(part.batch, run.step.own), step, signals.asks())
        learning_rate = run.learning_rate(step)
        norm, said = update(run, counters, losses, part.batch["key"], learning_rate)

        counters.step = done = step + 1
        counters.samples += run.streams.samples(step)
        for kind, messages in part.bad.items():
            pending[kind] = pending.get(kind, 0) + len(messages)
            for message in messages if kind != LEFT_OUT else ():  # there may be many in each step
                logger.say(f"bad sample ({kind}): {message}")
        if said:
            logger.say(said)
        last = done == run.steps
        logs = last or done == 1 or done % run.log_every == 0
        if logs:
            logger.metrics(done, counters.samples, {**losses, "gradient_norm": norm}, learning_rate)
        logger.advance(done)
        run.checkpoints.check()
        with logger.pause():
            saves = last or asked or (run.save_every is not None and done % run.save_every == 0)
            if logs or saves:
                pending = _count_bad(pending, counters, run)
            # before evaluations, which may take long; the end comes after them, with its best one
            if saves:
                save(run, counters)
                signals.saved()
            better = (last or not stop) and _evaluate_due(run, counters, logger)
            if better and not saves:
                pending = _count_bad(pending, counters, run)
                save(run, counters)
        if stop and not last:
            return False
    return True


def save(run: Run, counters: Counters) -> None:
    """Write a checkpoint of where the run is."""
    run.average_statistics()
    counters.loss_scale, counters.good_steps = run.precision.loss_scale, run.precision.good_steps
    run.checkpoints.save(run.plain_model, run.optimizer, run.ema, counters, run.recipe,
                         run.preprocess, run.environment)


def evaluate(run: Run, evaluator: Any) -> Result:
    """Run an evaluator on the weights that would be saved now."""
    with run.eval_model() as eval_model:
        result: Result = evaluator(eval_model)
    return result


def _evaluate_due(run: Run, counters: Counters, logger: RunLogger,
                  without: Collection[str] = ()) -> bool:
    """Run what is due at this step; whether the figure that the best checkpoint is kept by was
    never as high.
    """
    better = False
    for evaluated in run.evaluators:
        if evaluated.label not in without and evaluated.is_due(counters.step, run.steps):
            result = evaluate(run, evaluated.evaluator)
            better |= _is_best(run, logger, evaluated.label, result)
            logger.evaluation(counters.step, counters.samples, evaluated.label, result)
    if better:
        run.checkpoints.best = counters.step
    return better


def _is_best(run: Run, logger: RunLogger, label: str, result: Result) -> bool:
    wanted, _, metric = (run.keep_best or "").rpartition("/")
    if label != wanted:
        return False
    if metric not in result.metrics:
        raise CorekitError(f"checkpoint.keep_best={run.keep_best}: '{label}' measures "
                           f"{', '.join(result.metrics)}")
    before = best_evaluation(logger.run / "evaluations.jsonl", run.keep_best)
    value = result.metrics[metric]
    # as the first rank sees it
    return run.ranks.broadcast(value > before[0] if before else math.isfinite(value))


def _run_missed_evaluations(run: Run, counters: Counters, logger: RunLogger) -> None:
    """Evaluations that the checkpoint's step still lacks: a run that is asked to end saves, and has
    no time for them.
    """
    if 0 < counters.step < run.steps:
        made = {record["evaluator"] for record in read_records(logger.run / "evaluations.jsonl")
                if record["step"] == counters.step}
        _evaluate_due(run, counters, logger, without=run.ranks.broadcast(made))


def _count_bad(pending: dict[str, int], counters: Counters, run: Run) -> dict[str, int]:
    """Add all ranks' bad samples to the counters; a CorekitError where there are too many."""
    everyone: list[dict[str, int]] = [pending]
    if run.ranks.world > 1:
        everyone = [{} for _ in range(run.ranks.world)]
        dist.all_gather_object(everyone, pending)
    for counts in everyone:
        for kind, count in counts.items():
            counters.bad[kind] = counters.bad.get(kind, 0) + count
    damaged = {kind: count for kind, count in counters.bad.items() if kind != LEFT_OUT}
    bad = sum(damaged.values())
    if bad > run.max_bad_fraction * max(counters.samples, FEW):
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(damaged.items()))
        counted = max(counters.samples, FEW)
        raise CorekitError(f"{bad} of {counters.samples} samples were bad ({kinds}), more than "
                           f"data.max_bad_fraction={run.max_bad_fraction} of {counted:,}; the log "
                           f"files name every one")
    return {}


def _show_batch(logger: RunLogger, batch: Batch) -> None:
    """The first batch as training sees it, for TensorBoard."""
    shown = list(batch.get("image", ()))[:PICTURED]
    if shown and all(isinstance(image, Tensor) and image.dtype == torch.uint8 for image in shown):
        images = [image.permute(1, 2, 0).numpy() for image in shown]
        captions = (batch["caption"] if "caption" in batch else batch["key"])[:PICTURED]
        logger.picture("data/first_batch",
                       captioned_grid(images, [str(caption) for caption in captions]), 0)
