"""What the engine costs: its training loop against a bare one that does the same step, at the
quickstart's size.

    python tools/benchmark_engine.py [--pairs 15] [--steps 25] [OVERRIDE ...]

Both sides train the same model on the same batches, which lie in memory, and take turns in one
process. The bare loop is what one would write by hand: normalise, forward, the dense contrastive
loss, backward, clip, optimizer. The engine adds its
wiring, its loss in blocks, checks, log lines, TensorBoard. Prints the time a step of both, and the
ratio's median with the interval that holds the true median in 95 of 100 cases.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from math import comb
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

from corekit.checkpoint.training_state import Checkpoints, Counters
from corekit.cli.train import open_source
from corekit.data.loading.loader import WorkerBatch, step_batches
from corekit.distributed.process_group import connect
from corekit.recipes.compose import compose
from corekit.recipes.schema import RunConfig
from corekit.train import trainer as loop
from corekit.train.assemble import assemble
from corekit.train.logger import RunLogger
from corekit.train.materialise import Run, materialise
from corekit.train.signals import StopSignals

KEPT = 4  # batches in memory


class EnoughError(Exception):
    """Ends the engine's loop after the steps that are timed."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=25)
    chosen, overrides = parser.parse_known_args()
    recipe = compose("+recipe=mobileclip/quickstart", "engine.steps=1000000", "data.workers=0",
                     "~evaluators", *overrides)
    with tempfile.TemporaryDirectory() as folder:
        bare, engine = build(recipe, Path(folder) / "bare"), build(recipe, Path(folder) / "engine")
        parts = list(step_batches(engine.streams, 0, KEPT, 0))
        logger = RunLogger(Path(folder) / "engine", engine.ranks, engine.config.engine.steps, 0, 0)
        counters = Counters(step=1)
        bare_seconds(bare, parts, 3)
        engine_seconds(engine, parts, 3, counters, logger)
        pairs = []
        for number in range(chosen.pairs):
            sides = [lambda: bare_seconds(bare, parts, chosen.steps),
                     lambda: engine_seconds(engine, parts, chosen.steps, counters, logger)]
            times = [sides[at]() for at in ((0, 1) if number % 2 else (1, 0))]
            pairs.append(tuple(times if number % 2 else reversed(times)))
        logger.close()
    ratios = sorted(mine / theirs for theirs, mine in pairs)
    low, high = median_interval(ratios)
    print(f"bare loop {statistics.median(theirs for theirs, _ in pairs) * 1e3:.1f} ms a step, "
          f"engine {statistics.median(mine for _, mine in pairs) * 1e3:.1f} ms (medians of "
          f"{chosen.pairs} interleaved pairs)")
    print(f"engine / bare loop: {statistics.median(ratios):.4f}, 95 % interval {low:.4f} to "
          f"{high:.4f}")


def build(config: RunConfig, folder: Path) -> Run:
    """A run as the command builds it."""
    folder.mkdir()
    ranks = connect("none", config.engine.device)
    parts = assemble(replace(config, run_dir=str(folder)), open_source(config))
    return materialise(parts, ranks, Checkpoints(folder, 1, ranks), {})


def bare_seconds(run: Run, parts: list[WorkerBatch], steps: int) -> float:
    """Seconds a step of the bare loop."""
    model, optimizer, preprocess = run.plain_model, run.optimizer, run.preprocess
    device, channels_last = run.ranks.device, run.config.engine.channels_last
    model.train()
    synchronize(device)
    began = time.perf_counter()
    for step in range(steps):
        batch = parts[step % len(parts)].batch
        image = preprocess.normalize(batch["image"].to(device))
        if channels_last:
            image = image.to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with run.precision.autocast(device):
            outputs = model(image, batch["text"].to(device))
        logits = outputs["logit_scale"] * outputs["image_features"].float(
        ) @ outputs["text_features"].float().T
        target = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        torch.autograd.backward(loss)
        if run.config.engine.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.config.engine.grad_clip)
        optimizer.step()
        loss.item()
    synchronize(device)
    return (time.perf_counter() - began) / steps


def engine_seconds(run: Run, parts: list[WorkerBatch], steps: int, counters: Counters,
                   logger: RunLogger) -> float:
    """Seconds a step of the engine's own loop."""
    def from_memory(*_: object) -> Iterator[WorkerBatch]:
        for step in range(steps):
            yield parts[step % len(parts)]
        raise EnoughError

    synchronize(run.ranks.device)
    began = time.perf_counter()
    with mock.patch.object(loop, "step_batches", from_memory), contextlib.suppress(EnoughError):
        loop.train(run, counters, logger, StopSignals(None, run.ranks))
    synchronize(run.ranks.device)
    return (time.perf_counter() - began) / steps


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, where there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def median_interval(values: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median of sorted values, by order statistics."""
    count = len(values)
    low = 0
    while low + 1 < count / 2 and 2 * sum(comb(count, k)
                                          for k in range(low + 2)) / 2**count <= 0.05:
        low += 1
    return values[low], values[count - 1 - low]


if __name__ == "__main__":
    main()
