"""The training loop: one story for one process or many."""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from corekit.data.loader import Batch, split, step_parts
from corekit.data.pictures import captioned_grid
from corekit.engine.build import Run
from corekit.engine.checkpoint import Counters
from corekit.engine.journal import Journal
from corekit.errors import CorekitError
from corekit.evaluation.base import Result

PICTURED = 16


def train(run: Run, counters: Counters, journal: Journal) -> None:
    """Train from where the counters stand to the last step.

    Raises:
        CorekitError: a loss that is not finite, or too many bad samples.
    """
    run.model.train()
    pending: dict[str, int] = {}
    parts = step_parts(run.lanes, counters.step, run.steps, run.workers)
    for step in range(counters.step, run.steps):
        with journal.waiting():
            part = next(parts)
        if step == 0:
            _show_batch(journal, part.batch)
        learning_rate = run.learning_rate(step)
        for group in run.optimizer.param_groups:
            group["lr"] = learning_rate
        run.optimizer.zero_grad()
        losses = run.step(split(part.batch, run.step.own), step)
        if run.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(run.plain_model.parameters(), run.grad_clip)
        _check_finite(losses, step, part.batch)
        run.optimizer.step()
        if run.ema is not None:
            run.ema.update()

        counters.step = done = step + 1
        counters.samples += run.batch_size
        for kind, messages in part.bad.items():
            pending[kind] = pending.get(kind, 0) + len(messages)
            for message in messages:
                journal.say(f"bad sample ({kind}): {message}")
        last = done == run.steps
        saves = last or (run.save_every is not None and done % run.save_every == 0)
        if done == 1 or last or done % run.log_every == 0:
            journal.metrics(done, counters.samples, {name: float(value) for name, value in losses.items()}, learning_rate)
        if saves or last or done % run.log_every == 0:
            pending = _count_bad(pending, counters, run)
        journal.advance(done)
        with journal.pause():
            for evaluated in run.evaluators:
                if evaluated.is_due(done, run.steps):
                    result = evaluate(run, evaluated.evaluator)
                    journal.evaluation(done, counters.samples, evaluated.label, result)
            if saves:
                run.average_statistics()
                run.checkpoints.save(run.plain_model, run.optimizer, run.ema.model if run.ema else None, counters,
                                     run.recipe, run.preprocess, run.environment)


def evaluate(run: Run, evaluator: Any) -> Result:
    """Run an evaluator on the weights that would be saved now."""
    run.average_statistics()
    subject = run.subject()
    was_training = subject.model.training
    subject.model.eval()
    try:
        result: Result = evaluator(subject)
    finally:
        subject.model.train(was_training)
    return result


def _check_finite(losses: dict[str, Tensor], step: int, batch: Batch) -> None:
    if not math.isfinite(float(losses["loss"])):
        values = ", ".join(f"{name} {float(value)}" for name, value in losses.items())
        keys = ", ".join(map(str, batch["key"][:8]))
        raise CorekitError(f"the loss of step {step + 1} is not finite ({values}); its batch begins with {keys}. "
                           "The last checkpoint is untouched: lower optimizer.learning_rate or set engine.grad_clip")


def _count_bad(pending: dict[str, int], counters: Counters, run: Run) -> dict[str, int]:
    """Add all ranks' bad samples to the counters; a CorekitError where there are too many."""
    everyone: list[dict[str, int]] = [pending]
    if run.ranks.world > 1:
        everyone = [{} for _ in range(run.ranks.world)]
        dist.all_gather_object(everyone, pending)
    for counts in everyone:
        for kind, count in counts.items():
            counters.bad[kind] = counters.bad.get(kind, 0) + count
    bad = sum(counters.bad.values())
    if bad > run.max_bad_fraction * counters.samples:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counters.bad.items()))
        raise CorekitError(f"{bad} of {counters.samples} samples were bad ({kinds}), more than "
                           f"data.max_bad_fraction={run.max_bad_fraction}; the log files name every one")
    return {}


def _show_batch(journal: Journal, batch: Batch) -> None:
    """The first batch as training sees it, for TensorBoard."""
    if isinstance(batch.get("image"), Tensor) and batch["image"].dtype == torch.uint8:
        images = [image.permute(1, 2, 0).numpy() for image in batch["image"][:PICTURED]]
        captions = (batch["caption"] if "caption" in batch else batch["key"])[:PICTURED]
        journal.picture("data/first_batch", captioned_grid(images, [str(caption) for caption in captions]), 0)
