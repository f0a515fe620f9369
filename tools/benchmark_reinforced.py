"""Cost of reading reinforced shards: training from them against batches that lie in memory.

    python tools/benchmark_reinforced.py [--pairs 7] [--steps 8] [--samples 256] [OVERRIDE ...]

Writes drawn scenes of 256 pixels with reinforcements of DataCompDR-12M's size (30 augmentations, 6
captions, 1,536 random numbers in bf16), and trains MobileCLIP-S0 from them by the trainer's own
loop. Exits with 0 where the median ratio is at most ``--limit``.
"""

import itertools
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import timing
import torch
import torch.nn.functional as F
from benchmark_engine import build, engine_seconds
from corekit_projects.mobileclip.embeddings import encode_embeddings
from corekit_projects.mobileclip.stored_augmentations import draw_augmentation
from PIL import Image

from corekit.checkpoint.training_state import Counters
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.jobs.manifest import write_tar
from corekit.data.loading.loader import step_batches
from corekit.data.shards.indexing import load_index
from corekit.data.shards.writer import write_shards
from corekit.recipes.compose import compose
from corekit.train.logger import RunLogger
from corekit.train.symptoms.watch import Watch

BATCHES = 4  # batches in memory
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def main() -> int:
    parser = timing.parser(__doc__, pairs=7, steps=8, samples=256, limit=1.05)
    args, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_shards(OpenMoji(args.samples, size=256), folder / "scenes", samples_per_shard=64)
        reinforce(folder / "scenes", folder / "reinforcements")
        recipe = compose("+recipe=mobileclip/s0", f"data.root={folder}/scenes", "data.workers=1",
                         "data.streams=16", f"data.dataset.reinforcements={folder}/reinforcements",
                         "engine.batch_size=32", "engine.micro_batch=32", "engine.precision=fp32",
                         "engine.steps=1000000", "schedule.warmup_steps=0", *overrides)
        run, built = build(recipe, folder / "run")
        stream = step_batches(run.streams, 0, run.config.engine.steps, run.config.data.workers)
        stored_batches = [next(stream) for _ in range(BATCHES)]
        logger = RunLogger(folder / "run", run.ranks, run.config.engine.steps, 0, 0)
        counters = Counters(step=1)
        watch = Watch(run, built, logger, counters.step)

        def from_shards(steps: int) -> float:
            for _ in range(2 * run.config.data.workers + 1):  # read ahead while nothing was timed
                next(stream)
            batches = itertools.chain([next(stream)], itertools.islice(stream, steps - 1))
            return engine_seconds(run, batches, steps, counters, logger, watch)

        def from_memory(steps: int) -> float:
            return engine_seconds(run, stored_batches, steps, counters, logger, watch)

        for side in (from_memory, from_shards):
            side(2)
        sides = {"shards": partial(from_shards, args.steps),
                 "memory": partial(from_memory, args.steps)}
        times = timing.take_turns(sides, args.pairs)
        logger.close()
    ratio = times.ratio("shards", "memory")
    print(f"from memory {times.median('memory') * 1e3:.0f} ms a step, from reinforced shards "
          f"{times.median('shards') * 1e3:.0f} ms (medians of {args.pairs} interleaved pairs; "
          f"{torch.get_num_threads()} threads, {run.config.data.workers} data processes)")
    print(f"shards / memory: {ratio.exactly}")
    return 0 if ratio.median <= args.limit else 1


def reinforce(scenes: Path, out: Path) -> None:
    """Shards of the same names, with the members that DataCompDR-12M has beside each picture."""
    out.mkdir()
    index = load_index(str(scenes), "**/*.tar")
    for shard, name in enumerate(index.names):
        samples = index.read_samples(shard, 0, int(index.samples[shard]))
        write_tar(out, name, [{"__key__": sample.key, **members(sample.key)} for sample in samples])


def members(key: str) -> dict[str, bytes]:
    """30 augmentations, 5 synthetic captions, unit rows of two teachers of 768 numbers each."""
    picture = Image.new("RGB", (256, 256))
    entries = [draw_augmentation(picture, 0, key, number, 224, SCALE, RATIO, 2, 9)
               for number in range(30)]
    rows = {name: F.normalize(torch.randn(count, 2, 768), dim=2).reshape(count, 1536)
            for name, count in (("image_emb", 30), ("text_emb", 6))}
    extension, content = encode_embeddings(rows, "bf16")
    captions = {"syn_text": [f"a drawing, as caption {number} says" for number in range(5)]}
    return {"paug.json": json.dumps({"param_aug": entries}).encode(),
            "syn.json": json.dumps(captions).encode(), extension: content}


if __name__ == "__main__":
    sys.exit(main())
