"""The training loop: one story for one process or many."""

import math
from collections.abc import Collection

import torch.distributed as dist

from corekit.checkpoint.training_state import Counters
from corekit.data.datasets.base import LEFT_OUT
from corekit.data.image_grid import batch_grid
from corekit.data.loading.collate import join, split
from corekit.data.loading.loader import step_batches
from corekit.errors import CorekitError
from corekit.evaluation.base import Result
from corekit.models.freeze import training_mode
from corekit.records import best_evaluation, read_records
from corekit.train.logger import RunLogger
from corekit.train.materialise import Run
from corekit.train.signals import StopSignals
from corekit.train.step.prefetch import step_by_step
from corekit.train.step.update import update
from corekit.train.symptoms.watch import Watch

EVALUATIONS = "evaluations.jsonl"
SHOWN_IMAGES = 16  # of the first batch, in TensorBoard
FEW = 10_000  # samples that the allowed share of bad ones is taken of, until there are more


def train(run: Run, counters: Counters, logger: RunLogger, signals: StopSignals,
          watch: Watch) -> bool:
    """Train from where the counters stand; whether the last step was reached.

    Raises:
        CorekitError: a loss that is not finite, too many bad samples, or a checkpoint that cannot
            be written.
    """
    config, steps = run.config, run.config.engine.steps
    training_mode(run.plain_model)
    watch.begin()
    if 0 < counters.step < steps:
        # what the checkpoint's step lacks: a run that was asked to end had no time for it
        evaluated = {record["evaluator"] for record in read_records(logger.run / EVALUATIONS)
                     if record["step"] == counters.step}
        _evaluate_due(run, counters, logger, without=run.ranks.broadcast(evaluated))
    pending: dict[str, int] = {}
    parts = step_batches(run.streams, counters.step, steps, config.data.workers)
    own, fields = run.step.own_micro_batches, run.streams.fields
    cut = ((split(part.batch, own, fields), part.bad) for part in parts)
    batches = step_by_step(cut, run.ranks.device)
    for step in range(counters.step, steps):
        with logger.waiting():
            batch = next(batches)
        if step == 0:
            grid = batch_grid(join(batch.read, fields), fields, SHOWN_IMAGES)
            logger.picture("data/first_batch", grid, 0)
        run.optimizer.zero_grad()
        losses, requests = run.step(batch.read, step, signals.requests(), batch.moved)
        save_requested, stop_requested = map(bool, requests)
        learning_rate = run.learning_rate(step)
        norm, message = update(run, counters, losses, batch.keys, learning_rate)

        counters.step = done = step + 1
        counters.samples += run.streams.samples(step)
        watch.step(done, batch.read, losses, learning_rate, skipped=bool(message))
        for kind, messages in batch.bad.items():
            pending[kind] = pending.get(kind, 0) + len(messages)
            if kind != LEFT_OUT:  # of those there may be many in each step
                for about_sample in messages:
                    logger.say(f"bad sample ({kind}): {about_sample}")
        for text in (run.step.message, message):
            if text:
                logger.say(text)
        last = done == steps
        logs = last or done == 1 or done % config.log.every_steps == 0
        if logs:
            logger.metrics(done, counters.samples, {**losses, "gradient_norm": norm}, learning_rate)
        logger.advance(done)
        run.checkpoints.check()
        with logger.pause():
            every = config.checkpoint.every_steps
            saves = last or save_requested or (every is not None and done % every == 0)
            if logs or saves:
                pending = _count_bad(pending, counters, run)
            # before evaluations, which may take long; the end comes after them, with its best one
            if saves:
                save(run, counters)
                signals.saved()
            better = (last or not stop_requested) and _evaluate_due(run, counters, logger)
            if better and not saves:
                pending = _count_bad(pending, counters, run)
                save(run, counters)
        if stop_requested and not last:
            return False
    return True


def save(run: Run, counters: Counters) -> None:
    """Write a checkpoint of where the run is."""
    run.average_statistics()
    counters.loss_scale, counters.good_steps = run.precision.loss_scale, run.precision.good_steps
    run.checkpoints.save(run.plain_model, run.optimizer, run.ema, counters,
                         run.config.to_plain(), run.preprocess, run.environment,
                         run.streams.tokenizer)


def _evaluate_due(run: Run, counters: Counters, logger: RunLogger,
                  without: Collection[str] = ()) -> bool:
    """Run the evaluators that are due; whether the figure of ``keep_best`` was never as high."""
    better, steps = False, run.config.engine.steps
    due = [each for each in run.evaluators
           if each.label not in without and each.is_due(counters.step, steps)]
    if due:
        # a data process that is forked while a thread writes may inherit a lock that nobody frees
        run.checkpoints.wait()
    for scheduled in due:
        with run.eval_model() as eval_model:  # the weights that would be saved now
            result = scheduled.evaluator(eval_model)
        problem = result.problem(scheduled.config)
        better |= problem is None and _is_best(run, logger, scheduled.label, result)
        logger.evaluation(counters.step, counters.samples, scheduled.label, result, problem)
    if better:
        run.checkpoints.best = counters.step
    return better


def _is_best(run: Run, logger: RunLogger, label: str, result: Result) -> bool:
    keep_best = run.config.checkpoint.keep_best
    label_to_keep, _, metric = (keep_best or "").rpartition("/")
    if label != label_to_keep:
        return False
    if metric not in result.metrics:
        raise CorekitError(f"checkpoint.keep_best={keep_best}: '{label}' measures "
                           f"{', '.join(result.metrics)}")
    before = best_evaluation(logger.run / EVALUATIONS, keep_best)
    value = result.metrics[metric]
    # as the first rank sees it
    return run.ranks.broadcast(value > before[0] if before else math.isfinite(value))


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
    bad, counted = sum(damaged.values()), max(counters.samples, FEW)
    allowed = run.config.data.max_bad_fraction
    if bad > allowed * counted:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(damaged.items()))
        raise CorekitError(f"{bad} of {counters.samples} samples were bad ({kinds}), more than "
                           f"data.max_bad_fraction={allowed} of {counted:,}; the log "
                           "files name every one")
    return {}
