"""What reading reinforced shards costs: training from them against the same steps on batches that
lie in memory.

    python tools/benchmark_reinforced.py [--pairs 7] [--steps 8] [--samples 256] [OVERRIDE ...]

Writes drawn scenes of 256 pixels with reinforcements of DataCompDR-12M's size (30 augmentations, 6
captions, 1,536 numbers in bf16; the numbers are random, which changes no work), and trains
MobileCLIP-S0 by the engine's own loop with the reinforced
loss. Both sides take turns in one process. Prints the time a step of both, and the ratio's median
with the interval that holds the true median in 95 of 100 cases. Exits with 0 where that median is
at most ``--limit``.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from benchmark_engine import EnoughError, build, median_interval, synchronize
from corekit_projects.mobileclip.embeddings import encode_embeddings
from corekit_projects.mobileclip.stored_augmentations import draw_augmentation
from PIL import Image

from corekit.checkpoint.training_state import Counters
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.jobs.manifest import write_tar
from corekit.data.loading.loader import WorkerBatch, step_batches
from corekit.data.shards.indexing import load_index
from corekit.data.shards.writer import write_shards
from corekit.recipes.compose import compose
from corekit.train import trainer as loop
from corekit.train.logger import RunLogger
from corekit.train.materialise import Run
from corekit.train.signals import StopSignals

KEPT = 4  # batches in memory
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--limit", type=float, default=1.05)
    chosen, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scenes = OpenMoji(chosen.samples, size=256)
        write_shards(scenes, folder / "scenes", samples_per_shard=64)
        reinforce(folder / "scenes", folder / "reinforcements")
        recipe = compose("+recipe=mobileclip/s0", f"data.root={folder}/scenes", "data.workers=1",
                         "data.streams=16", f"data.dataset.reinforcements={folder}/reinforcements",
                         "engine.batch_size=32", "engine.micro_batch=32", "engine.precision=fp32",
                         "engine.steps=1000000", "schedule.warmup_steps=0", *overrides)
        run = build(recipe, folder / "run")
        stream = step_batches(run.streams, 0, run.config.engine.steps, run.config.data.workers)
        kept = [next(stream) for _ in range(KEPT)]
        logger = RunLogger(folder / "run", run.ranks, run.config.engine.steps, 0, 0)
        counters = Counters(step=1)
        def measure(at: int, steps: int) -> float:
            parts = refilled(run, stream) if at else (kept[step % KEPT] for step in range(steps))
            return seconds(run, parts, steps, counters, logger)

        for at in (0, 1):
            measure(at, 2)
        pairs = []
        for number in range(chosen.pairs):
            order = (0, 1) if number % 2 else (1, 0)
            times = {at: measure(at, chosen.steps) for at in order}
            pairs.append((times[0], times[1]))
        logger.close()
    ratios = sorted(shards / memory for memory, shards in pairs)
    low, high = median_interval(ratios)
    print(f"from memory {statistics.median(memory for memory, _ in pairs) * 1e3:.0f} ms a step, "
          f"from reinforced shards "
          f"{statistics.median(shards for _, shards in pairs) * 1e3:.0f} ms (medians of "
          f"{chosen.pairs} interleaved pairs; "
          f"{torch.get_num_threads()} threads, {run.config.data.workers} data processes)")
    print(
        f"shards / memory: {statistics.median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f}")
    return 0 if statistics.median(ratios) <= chosen.limit else 1


def reinforce(scenes: Path, out: Path) -> None:
    """Shards of the same names, with the members that DataCompDR-12M has beside each picture."""
    out.mkdir()
    index = load_index(str(scenes), "**/*.tar")
    for shard, name in enumerate(index.names):
        write_tar(out, name,
                  [{"__key__": sample.key, **members(sample.key)}
                   for sample in index.read_samples(shard, 0, int(index.samples[shard]))])


def members(key: str) -> dict[str, bytes]:
    """30 augmentations, 5 synthetic captions, unit rows of two teachers of 768 numbers each."""
    picture = Image.new("RGB", (256, 256))
    entries = [
        draw_augmentation(picture, 0, key, number, 224, SCALE, RATIO, 2, 9) for number in range(30)
    ]
    rows = {name: F.normalize(torch.randn(count, 2, 768), dim=2).reshape(count, 1536)
            for name, count in (("image_emb", 30), ("text_emb", 6))}
    extension, content = encode_embeddings(rows, "bf16")
    captions = {"syn_text": [f"a drawing, as caption {number} says" for number in range(5)]}
    return {
        "paug.json": json.dumps({"param_aug": entries}).encode(),
        "syn.json": json.dumps(captions).encode(), extension: content
    }


def refilled(run: Run, stream: Iterator[WorkerBatch]) -> Iterator[WorkerBatch]:
    """The stream as it is in the middle of a run: the batches that its processes read ahead
    meanwhile are thrown away.
    """
    for _ in range(2 * run.config.data.workers + 1):
        next(stream)
    while True:  # `yield from` would end the stream together with this
        yield next(stream)


def seconds(run: Run, parts: Iterator[WorkerBatch], steps: int, counters: Counters,
            logger: RunLogger) -> float:
    """Seconds a step of the engine's own loop on these batches."""
    first = next(parts)  # what was read ahead is thrown away before the clock starts

    def these(*_: object) -> Iterator[WorkerBatch]:
        yield first
        yield from islice(parts, steps - 1)
        raise EnoughError

    synchronize(run.ranks.device)
    began = time.perf_counter()
    with mock.patch.object(loop, "step_batches", these), contextlib.suppress(EnoughError):
        loop.train(run, counters, logger, StopSignals(None, run.ranks))
    synchronize(run.ranks.device)
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    sys.exit(main())
