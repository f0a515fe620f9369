"""CatLIP and CLIP, pre-trained on the same drawn scenes for the same time: linear probes of the two
image towers.

    python tools/compare_catlip_clip.py [--folder runs/compare_catlip_clip] [--minutes 2] [--seeds
    3]

Both have the image tower of ``catlip_vit_nano``; one learns the nouns of captions
(``catlip/quickstart``), the other pairs (``catlip/clip_quickstart``). Some short runs, taking
turns, say how many steps each does in the time asked for; each then
trains that many, with a schedule of its own, alone on the machine. The linear probe tells 200
concepts drawn alone apart (chance is 0.5 %). What is done is kept, so that the same command goes on
after an interruption. Prints both sides with the
seconds that training really took.
"""

import argparse
import json
import statistics
import sys
from itertools import pairwise
from pathlib import Path

from comparisons import command, reached

RECIPES = {"CatLIP": "quickstart", "CLIP": "clip_quickstart"}
BATCH = 64


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/compare_catlip_clip"))
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trial-steps", type=int, default=30, help="of the runs that tell the "
                                                                    "speed")
    parser.add_argument("--trials", type=int, default=3)
    chosen = parser.parse_args()
    folder: Path = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    speeds: dict[str, list[float]] = {side: [] for side in RECIPES}
    for trial in range(chosen.trials):
        for side in RECIPES:
            speeds[side].append(speed(folder, side, chosen.trial_steps, trial))
    rates = {side: statistics.median(found) for side, found in speeds.items()}
    print(f"{'':<10}{'samples/s':>12}{'steps':>8}{'seconds':>10}   linear probe, top-1, mean of "
          f"{chosen.seeds} seeds "
          "(lowest to highest)")
    for side, rate in rates.items():
        steps = max(2, round(chosen.minutes * 60 * rate / BATCH))
        found = [trained(folder, side, steps, seed) for seed in range(chosen.seeds)]
        top1, seconds = [each[0] for each in found], [each[1] for each in found]
        print(f"{side:<10}{rate:>12.0f}{steps:>8}{statistics.mean(seconds):>10.0f}   "
              f"{statistics.mean(top1):.1%} "
              f"({min(top1):.1%} to {max(top1):.1%})", flush=True)
    print(f"\nCatLIP does {rates['CatLIP'] / rates['CLIP']:.2f} x the samples of CLIP a second")
    return 0


def speed(folder: Path, side: str, steps: int, trial: int) -> float:
    """Samples a second of a short run, without its first steps and its evaluation."""
    run = folder / f"trial_{side.lower()}_{trial}"
    train(folder, run, side, steps, trial, "log.every_steps=5", "~evaluators.linear_probe",
          *(["~evaluators.multi_label"] if side == "CatLIP" else []))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(statistics.median(line["samples_per_second"] for line in lines[2:]))


def trained(folder: Path, side: str, steps: int, seed: int) -> tuple[float, float]:
    """Top-1 of the linear probe, and the seconds of training alone."""
    run = folder / f"{side.lower()}_{steps}_{seed}"
    train(folder, run, side, steps, seed, "log.every_steps=5",
          *(["~evaluators.multi_label"] if side == "CatLIP" else []))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = sum((line["samples"] - before["samples"]) / line["samples_per_second"]
                  for before, line in pairwise(lines))
    return reached(run, "linear_probe"), seconds


def train(folder: Path, run: Path, side: str, steps: int, seed: int, *words: str) -> None:
    command(folder, run.name, "corekit-train", f"+recipe=catlip/{RECIPES[side]}",
            f"engine.steps={steps}", f"seed={seed}",
            f"data.dataset.{'dataset.' if side == 'CatLIP' else ''}seed={seed}",
            "checkpoint.every_steps=null", f"schedule.warmup_steps={min(150, steps // 4)}",
            f"run_dir={run}", *words)


if __name__ == "__main__":
    sys.exit(main())
