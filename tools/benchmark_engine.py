"""The trainer's cost: its loop against a bare one of the same step, at the quickstart's size.

    python tools/benchmark_engine.py [--pairs 15] [--steps 25] [OVERRIDE ...]

Both sides train the same model on the same batches in memory, in turns in one process. The bare
loop is what one would write by hand: normalise, forward, the dense contrastive loss, backward,
clip, optimizer. The trainer adds its wiring, its loss in blocks, checks, log lines, TensorBoard.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import timing
import torch
import torch.nn.functional as F

from corekit.checkpoint.training_state import Checkpoints, Counters
from corekit.cli.train import open_source
from corekit.data.loading.loader import WorkerBatch, step_batches
from corekit.distributed.process_group import connect
from corekit.recipes.compose import compose
from corekit.recipes.schema import RunConfig
from corekit.train import trainer as loop
from corekit.train.assemble import Parts, assemble
from corekit.train.logger import RunLogger
from corekit.train.materialise import Run, materialise
from corekit.train.signals import StopSignals
from corekit.train.symptoms.watch import Watch

BATCHES = 4  # batches in memory


class EnoughError(Exception):
    """Ends the trainer's loop after the steps that are timed."""


def main() -> None:
    args, overrides = timing.parser(__doc__, pairs=15, steps=25).parse_known_args()
    recipe = compose("+recipe=mobileclip/quickstart", "engine.steps=1000000", "data.workers=0",
                     "~evaluators", *overrides)
    with tempfile.TemporaryDirectory() as folder:
        bare, _ = build(recipe, Path(folder) / "bare")
        engine, built = build(recipe, Path(folder) / "engine")
        parts = list(step_batches(engine.streams, 0, BATCHES, 0))
        logger = RunLogger(Path(folder) / "engine", engine.ranks, engine.config.engine.steps, 0, 0)
        counters = Counters(step=1)
        watch = Watch(engine, built, logger, counters.step)
        bare_seconds(bare, parts, 3)
        engine_seconds(engine, parts, 3, counters, logger, watch)
        sides = {"engine": lambda: engine_seconds(engine, parts, args.steps, counters, logger,
                                                  watch),
                 "bare": lambda: bare_seconds(bare, parts, args.steps)}
        times = timing.take_turns(sides, args.pairs)
        logger.close()
    ratio = times.ratio("engine", "bare")
    print(f"bare loop {times.median('bare') * 1e3:.1f} ms a step, engine "
          f"{times.median('engine') * 1e3:.1f} ms (medians of {args.pairs} interleaved pairs)")
    print(f"engine / bare loop: {ratio.exactly}")


def build(config: RunConfig, folder: Path) -> tuple[Run, Parts]:
    """A run as the command builds it, and the parts it is made of."""
    folder.mkdir()
    ranks = connect("none", config.engine.device)
    parts = assemble(replace(config, run_dir=str(folder)), open_source(config))
    return materialise(parts, ranks, Checkpoints(folder, 1, ranks), {}, begins=True), parts


def bare_seconds(run: Run, parts: list[WorkerBatch], steps: int) -> float:
    """Seconds a step of the bare loop."""
    model, optimizer, preprocess = run.plain_model, run.optimizer, run.preprocess
    device, channels_last = run.ranks.device, run.config.engine.channels_last
    model.train()
    batches = itertools.cycle(part.batch for part in parts)

    def step() -> None:
        batch = next(batches)
        image = preprocess.normalize(batch["image"].to(device))
        if channels_last:
            image = image.to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with run.precision.autocast(device):
            outputs = model(image, batch["text"].to(device))
        image_features, text_features = (outputs[f"{name}_features"].float()
                                         for name in ("image", "text"))
        logits = outputs["logit_scale"] * image_features @ text_features.T
        target = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        torch.autograd.backward(loss)
        if run.config.engine.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.config.engine.grad_clip)
        optimizer.step()
        loss.item()

    return timing.seconds_of(step, device, calls=steps)


def engine_seconds(run: Run, parts: Iterable[WorkerBatch], steps: int, counters: Counters,
                   logger: RunLogger, watch: Watch) -> float:
    """Seconds a step of the trainer's own loop on these batches, again and again."""
    def from_memory(*_: object) -> Iterator[WorkerBatch]:
        yield from itertools.islice(itertools.cycle(parts), steps)
        raise EnoughError

    def train() -> None:
        with mock.patch.object(loop, "step_batches", from_memory), contextlib.suppress(EnoughError):
            loop.train(run, counters, logger, StopSignals(None, run.ranks), watch)

    return timing.seconds_of(train, run.ranks.device) / steps


if __name__ == "__main__":
    main()
