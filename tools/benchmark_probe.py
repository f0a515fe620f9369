"""Time of a linear probe with 14 heads against one with a single head, on one frozen ViT-B/16.

    python tools/benchmark_probe.py [--train 96] [--test 32] [--classes 1000] [--epochs 100]

Both sides do a whole evaluation: features of all images by the image tower of ``clip_vit_b16``,
training of the heads, the choice on held-out samples, the figures of the test samples. They take
turns. Prints the median time of each side, and the median of the pairs' ratios with its range.
Exits with 0 where that ratio is at most ``--limit``.
"""

import contextlib
import sys
from functools import partial

import numpy as np
import timing
import torch
from PIL import Image

from corekit.data.datasets.base import Sample
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.probes.linear_probe import LEARNING_RATES, LinearProbe
from corekit.models.vit import clip_vit_b16


class Noise:
    """Pictures of random pixels, ready in memory, so that reading them costs next to nothing."""

    fields: tuple[str, ...] = ("image", "label")
    fingerprint = ""

    def __init__(self, samples: int, classes: int, seed: int) -> None:
        self.shard_sizes = np.array([samples])
        generator = np.random.default_rng(seed)
        pixels = generator.integers(0, 256, (samples, 224, 224, 3), dtype=np.uint8)
        self.images = [Image.fromarray(image) for image in pixels]
        self.labels = [number * classes // samples for number in range(samples - 1)] + [classes - 1]

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> Sample:
        return {"key": str(handle), "image": self.images[handle], "label": self.labels[handle]}


def main() -> int:
    """The command."""
    parser = timing.parser(__doc__, classes=1000, epochs=100, limit=1.5)
    parser.add_argument("--train", type=int, default=96, help="images to train on")
    parser.add_argument("--test", type=int, default=32, help="images to report on")
    parser.add_argument("--batch-size", type=int, default=1024, help="samples of one step of heads")
    parser.add_argument("--pairs", type=int, default=5, help="how often each side runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    eval_model = EvalModel(clip_vit_b16().to(device).eval(),
                           Preprocess(224, "bicubic", (0, 0, 0), (1, 1, 1)), None, device,
                           contextlib.nullcontext)
    train, test = Noise(args.train, args.classes, 1), Noise(args.test, args.classes, 2)
    probe = partial(LinearProbe, test, train, epochs=args.epochs, batch_size=args.batch_size,
                    forward_batch_size=32)
    probes = {14: probe(learning_rates=LEARNING_RATES, weight_decays=(0.0, 0.1)),
              1: probe(learning_rates=LEARNING_RATES[3:4], weight_decays=(0.0,))}
    # what is slow only the first time
    LinearProbe(Noise(8, 4, 3), Noise(8, 4, 3), epochs=2)(eval_model)

    def evaluate(heads: int) -> None:
        grid = probes[heads](eval_model).details["grid"]
        assert isinstance(grid, list)
        assert len(grid) == heads

    sides = {f"{heads:2d} heads": partial(timing.seconds_of, partial(evaluate, heads), device)
             for heads in probes}
    times = timing.take_turns(sides, args.pairs)
    print(f"{args.train} + {args.test} images, {args.classes} classes, {args.epochs} "
          f"epochs on {device}, {torch.get_num_threads()} threads, {args.pairs} pairs:")
    for side in sorted(times):
        print(f"  {side}: {times.spread(side)}")
    ratio = times.ratio("14 heads", " 1 heads")
    print(f"  ratio: median {ratio.median:.3f} ({min(ratio.values):.3f} to "
          f"{max(ratio.values):.3f}), at most {args.limit} wanted")
    return 0 if ratio.median <= args.limit else 1


if __name__ == "__main__":
    sys.exit(main())
