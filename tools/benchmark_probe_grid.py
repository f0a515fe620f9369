"""Time of an attentive probe with 14 heads against one with a single head, on one frozen trunk.

    python tools/benchmark_probe_grid.py [--width-divisor 4] [--train 64] [--classes 1000]

The trunk is ``aimv2_large_224``, 24 blocks; on a CPU a narrow copy, in which the heads weigh more.
Both sides do a whole evaluation: training images and their tokens in every step, the heads' steps,
the choice on held-out samples, the figures of the test samples. They take turns. Prints the median
time of each side, and the median of the turns' ratios with its range. Exits with 0 where that ratio
is at most ``--limit``.
"""

import sys
from functools import partial

import torch
from benchmark_probe import Noise
from timing import autocast, conditions, in_turns, options

import corekit
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.probes.attentive_probe import LEARNING_RATES, AttentiveProbe


def main() -> int:
    """The command."""
    parser = options(__doc__, pairs=5, classes=1000, epochs=2, limit=1.5)
    parser.add_argument("--width-divisor", type=int, help="default: 1 on a GPU, 4 on a CPU")
    parser.add_argument("--train", type=int, default=64, help="images to train on")
    parser.add_argument("--test", type=int, default=16, help="images to report on")
    parser.add_argument("--batch-size", type=int, default=32, help="samples of a step of the heads")
    args = parser.parse_args()
    divisor = args.width_divisor or (1 if args.device == "cuda" else 4)
    torch.manual_seed(0)
    trunk = corekit.create_model("aimv2_large_224", width_divisor=divisor).to(args.device).eval()
    preprocess = Preprocess(224, "bicubic", (0, 0, 0), (1, 1, 1))
    eval_model = EvalModel(trunk, preprocess, None, torch.device(args.device),
                           partial(autocast, args))
    train, test = Noise(args.train, args.classes, 1), Noise(args.test, args.classes, 2)
    probe = partial(AttentiveProbe, test, train, transform=CenterCrop(preprocess),
                    num_classes=args.classes, epochs=args.epochs, batch_size=args.batch_size,
                    forward_batch_size=args.batch_size)
    probes = {"one head": probe(learning_rates=LEARNING_RATES[5:6], weight_decays=(0.05,)),
              "14 heads": probe(learning_rates=LEARNING_RATES, weight_decays=(0.05, 0.1))}
    times = in_turns({name: partial(one, eval_model) for name, one in probes.items()}, args)
    width, blocks = trunk.width, len(list(trunk.get_submodule("blocks").children()))
    print(f"{args.train} + {args.test} images, {args.classes} classes, {args.epochs} "
          f"epochs in steps of {args.batch_size} over {blocks} blocks {width} wide; "
          f"{conditions(args)}")
    for name in times:
        print(f"  {name:>8}: {times.spread(name)}")
    ratio = times.ratio("14 heads", "one head")
    print(f"  14 heads take {ratio} the time of one, at most {args.limit} wanted")
    return 0 if ratio.median <= args.limit else 1


if __name__ == "__main__":
    sys.exit(main())
