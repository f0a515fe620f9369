"""CatLIP against CLIP after equal time on the same drawn scenes: linear probes of both.

    python tools/compare_catlip_clip.py [--minutes 2] [--seeds 3]

Both have the image tower of ``catlip_vit_nano``; one learns the nouns of captions
(``catlip/quickstart``), the other pairs (``catlip/clip_quickstart``). Short runs in turns measure
how many steps each does in the time asked for; each then trains that many, with a schedule of its
own, alone on the machine. The linear probe tells 200 concepts drawn alone apart (chance is 0.5 %).
"""

import statistics
import sys
from itertools import pairwise
from pathlib import Path

from comparisons import command, options, reached, records, summary

RECIPES = {"CatLIP": "quickstart", "CLIP": "clip_quickstart"}
BATCH = 64


def main() -> int:
    parser = options(__doc__, "runs/compare_catlip_clip", trials=3)
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, for each run")
    parser.add_argument("--trial-steps", type=int, default=30,
                        help="of the runs that tell the speed")
    args = parser.parse_args()
    folder: Path = args.folder
    speeds: dict[str, list[float]] = {side: [] for side in RECIPES}
    for trial in range(args.trials):
        for side in RECIPES:
            speeds[side].append(speed(folder, side, args.trial_steps, trial))
    rates = {side: statistics.median(trials) for side, trials in speeds.items()}
    print(f"{'':<10}{'samples/s':>12}{'steps':>8}{'seconds':>10}   linear probe, top-1, mean of "
          f"{args.seeds} seeds (lowest to highest)")
    for side, rate in rates.items():
        steps = max(2, round(args.minutes * 60 * rate / BATCH))
        runs = [trained(folder, side, steps, seed) for seed in range(args.seeds)]
        top1, seconds = zip(*runs)
        print(f"{side:<10}{rate:>12.0f}{steps:>8}{statistics.mean(seconds):>10.0f}   "
              f"{summary(top1)}", flush=True)
    print(f"\nCatLIP does {rates['CatLIP'] / rates['CLIP']:.2f} x the samples of CLIP a second")
    return 0


def speed(folder: Path, side: str, steps: int, trial: int) -> float:
    """Samples a second of a short run, without its first steps and its evaluation."""
    run = folder / f"trial_{side.lower()}_{trial}"
    train(folder, run, side, steps, trial, "~evaluators.linear_probe")
    return float(statistics.median(line["samples_per_second"]
                                   for line in records(run / "metrics.jsonl")[2:]))


def trained(folder: Path, side: str, steps: int, seed: int) -> tuple[float, float]:
    """Top-1 of the linear probe, and the seconds of training alone."""
    run = folder / f"{side.lower()}_{steps}_{seed}"
    train(folder, run, side, steps, seed)
    seconds = sum((line["samples"] - before["samples"]) / line["samples_per_second"]
                  for before, line in pairwise(records(run / "metrics.jsonl")))
    return reached(run, "linear_probe"), seconds


def train(folder: Path, run: Path, side: str, steps: int, seed: int, *words: str) -> None:
    of_side = ([f"data.dataset.dataset.seed={seed}", "~evaluators.multi_label"]
               if side == "CatLIP" else [f"data.dataset.seed={seed}"])
    command(folder, run.name, "corekit-train", f"+recipe=catlip/{RECIPES[side]}",
            f"engine.steps={steps}", f"seed={seed}", *of_side, "checkpoint.every_steps=null",
            f"schedule.warmup_steps={min(150, steps // 4)}", "log.every_steps=5", f"run_dir={run}",
            *words)


if __name__ == "__main__":
    sys.exit(main())
