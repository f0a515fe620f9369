"""Time of a probe with 14 heads against one with a single head, on one frozen model.

    python tools/benchmark_probe.py [--probe attentive] [--train 64] [--test 16] [--classes 1000]

The linear probe is of ``clip_vit_b16``; the attentive one of ``aimv2_large_224``, 24 blocks, on a
CPU a narrow copy, in which the heads weigh more. Both sides do a whole evaluation: features of the
images, training of the heads, the choice on held-out samples, the figures of the test samples.
Exits with 0 where the median ratio is at most ``--limit``.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import timing
import torch
from PIL import Image

import corekit
from corekit.data.datasets.base import Sample
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel, Evaluator
from corekit.evaluation.probes import attentive_probe, linear_probe


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
    parser = timing.options(__doc__, pairs=5, limit=1.5, train=96, test=32, classes=1000)
    parser.add_argument("--probe", choices=["linear", "attentive"], default="linear")
    parser.add_argument("--epochs", type=int, help="default: 100 linear, 2 attentive")
    parser.add_argument("--batch-size", type=int, help="default: 1024 linear, 32 attentive")
    parser.add_argument("--width-divisor", type=int, help="default: 1 on a GPU, 4 on a CPU")
    args = parser.parse_args()
    torch.manual_seed(0)
    preprocess = Preprocess(224, "bicubic", (0, 0, 0), (1, 1, 1))
    train, test = Noise(args.train, args.classes, 1), Noise(args.test, args.classes, 2)
    if args.probe == "linear":
        model = corekit.create_model("clip_vit_b16")
        rates, decays = linear_probe.LEARNING_RATES, (0.0, 0.1)
        probe: Callable[..., Evaluator] = partial(
            linear_probe.LinearProbe, test, train, epochs=args.epochs or 100,
            batch_size=args.batch_size or 1024, forward_batch_size=32)
    else:
        divisor = args.width_divisor or (1 if args.device == "cuda" else 4)
        model = corekit.create_model("aimv2_large_224", width_divisor=divisor)
        rates, decays = attentive_probe.LEARNING_RATES, (0.05, 0.1)
        batch_size = args.batch_size or 32
        probe = partial(attentive_probe.AttentiveProbe, test, train, epochs=args.epochs or 2,
                        batch_size=batch_size, forward_batch_size=batch_size,
                        transform=CenterCrop(preprocess), num_classes=args.classes)
    eval_model = EvalModel(model.to(args.device).eval(), preprocess, None,
                           torch.device(args.device), partial(timing.autocast, args))
    probes = {"14 heads": probe(learning_rates=rates, weight_decays=decays),
              "one head": probe(learning_rates=rates[3:4], weight_decays=decays[:1])}
    times = timing.in_turns({name: partial(one, eval_model) for name, one in probes.items()}, args)
    print(f"{args.probe} probe, {args.train} + {args.test} images, {args.classes} classes; "
          f"{timing.conditions(args)}")
    for name in times:
        print(f"  {name}: {times.spread(name)}")
    ratio = times.ratio("14 heads", "one head")
    print(f"  14 heads take {ratio} the time of one, at most {args.limit} wanted")
    return 0 if ratio.median <= args.limit else 1


if __name__ == "__main__":
    sys.exit(main())
