"""Reinforced training, and each part of it, against plain CLIP on the same drawn scenes.

    python tools/compare_reinforced.py [--seeds 3] [--steps 90 180 360 720]

Draws a few scenes, trains two teachers on many others (the quickstart, twice), reinforces the
scenes once, and trains ``mobileclip_nano`` from them for every number of steps of 64 samples, each
with a schedule of its own, and every seed. Zero-shot top-1 on 1,000 scenes of 200 concepts compares
plain CLIP on the real captions, with crops drawn anew each time, and reinforced training with
everything. Then, at ``--parts-steps``, the parts are added one by one as Vasu et al. (2024, table
2) do: synthetic captions, distillation from one teacher, strong augmentations, a second teacher.
Exits with 0 where reinforced training reaches the last accuracy of CLIP with at most a third of its
samples.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from comparisons import command, cores, keep, mean, of, options, reached, run_all, summary

BATCH = 64
TEACHERS = (1, 2)  # their seeds, and their scenes'
SCALE = "19"  # about the logit scale that they learn
# at [0.4, 1] and two operations the teachers, which saw none of it, tell half of a batch apart;
# with weak ones 94 %
AUGMENTATIONS = {"weak": ("scale=[0.8,1]", "operations=0"),
                 "strong": ("scale=[0.6,1]", "operations=1")}
SETS = {"weak_one": ("weak", 1), "strong_one": ("strong", 1), "strong_two": ("strong", 2)}
CONTRASTIVE = ("loss.contrastive_weight=1", "loss.distillation_weight=0")
# the set it reads, and what it changes of the recipe
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CLIP": ("scenes", ()),
    "+ synthetic captions": ("weak_one", CONTRASTIVE),
    "+ distillation": ("weak_one", ()),
    "+ strong augmentation": ("strong_one", ()),
    "+ ensemble (reinforced)": ("strong_two", ()),
}
FIRST, *_, LAST = METHODS


def main() -> int:
    parser = options(__doc__, "runs/compare_reinforced", jobs=max(cores() // 2 * 2, 1))
    parser.add_argument("--steps", type=int, nargs="+", default=[90, 180, 360, 720])
    parser.add_argument("--parts-steps", type=int, default=360,
                        help="steps of the runs that add one part after the other")
    parser.add_argument("--samples", type=int, default=1000, help="scenes that are reinforced")
    args = parser.parse_args()
    folder: Path = args.folder
    with ThreadPoolExecutor(args.jobs) as pool:
        prepare(folder, args.samples, pool)
    runs = {(method, args.parts_steps, seed) for seed in range(args.seeds) for method in METHODS}
    runs |= {(method, steps, seed) for seed in range(args.seeds) for method in (FIRST, LAST)
             for steps in args.steps}
    order = sorted(runs, key=lambda run: (run[2], run[1]))  # a seed whole before the next one
    figures = run_all(order, partial(student, folder), args.jobs)
    keep(folder / "curve.json", figures)
    budgets = sorted(args.steps)
    curves = {method: [mean(figures, method, steps) for steps in budgets]
              for method in (FIRST, LAST)}
    print(f"zero-shot top-1, mean of {args.seeds} seeds (lowest to highest)\n")
    print(f"{'samples seen':<26}" + "".join(f"{steps * BATCH:>24,}" for steps in budgets))
    for method in curves:
        print(f"{method:<26}" + "".join(f"{summary(of(figures, method, steps)):>24}"
                                        for steps in budgets))
    print(f"\nthe parts, at {args.parts_steps * BATCH:,} samples\n")
    for method in METHODS:
        print(f"{method:<26}{summary(of(figures, method, args.parts_steps)):>24}")
    needed = samples_to_reach(curves[FIRST][-1], budgets, curves[LAST])
    fewer = budgets[-1] * BATCH / needed
    print(f"\nCLIP's last accuracy, {curves[FIRST][-1]:.1%} after {budgets[-1] * BATCH:,} samples, "
          f"is reached after {needed:,.0f} reinforced ones: {fewer:.1f} x fewer")
    return 0 if fewer >= 3 else 1


def prepare(folder: Path, samples: int, pool: ThreadPoolExecutor) -> None:
    """Two teachers, the scenes, and the scenes reinforced in every way."""
    def start(name: str, *words: str) -> Future[None]:
        return pool.submit(command, folder, name, *words)

    jobs = [start(f"teacher_{seed}", "corekit-train", "+recipe=mobileclip/quickstart",
                  f"seed={seed}", f"data.dataset.seed={seed}", f"run_dir={folder}/teacher_{seed}")
            for seed in TEACHERS]
    jobs.append(start("scenes", "corekit", "data", "openmoji", f"{folder}/scenes", "--objects", "1",
                      "1", f"--samples={samples}", "--size=80", "--workers=1"))
    for job in jobs:
        job.result()
    teachers = [f"{folder}/teacher_{seed}" for seed in TEACHERS]
    jobs = [start(name, "corekit", "data", "reinforce", f"{folder}/scenes", f"{folder}/{name}",
                  f"teachers=[{','.join(teachers[:count])}]", "captioner.name=nearest_captions",
                  f"captioner.path={teachers[0]}", f"captioner.candidates={folder}/scenes",
                  "captions=5", "augmentations=10", "image_size=64", "interpolation=bilinear",
                  *AUGMENTATIONS[strength]) for name, (strength, count) in SETS.items()]
    for job in jobs:
        job.result()


def student(folder: Path, method: str, steps: int, seed: int) -> float:
    """Train one and give its zero-shot top-1."""
    read, words = METHODS[method]
    run = folder / f"{method.strip('+ ').split()[0].lower()}_{steps}_{seed}"
    if method == FIRST:
        recipe = ("+recipe=mobileclip/quickstart", "data.dataset.name=webdataset",
                  *(f"~data.dataset.{key}" for key in ("samples", "objects", "detail")))
    else:
        recipe = ("+recipe=mobileclip/reinforced_quickstart",
                  f"data.dataset.reinforcements={folder}/{read}",
                  *(f"loss.teacher_{what}=[{','.join([number] * SETS[read][1])}]"
                    for what, number in (("widths", "128"), ("logit_scales", SCALE))))
    command(folder, run.name, "corekit-train", *recipe, f"data.root={folder}/scenes",
            f"engine.steps={steps}", f"engine.batch_size={BATCH}", f"engine.micro_batch={BATCH}",
            f"seed={seed}", f"evaluators.zero_shot.every_steps={steps}",
            f"checkpoint.every_steps={steps}", f"run_dir={run}", *words)
    return reached(run, "zero_shot")


def samples_to_reach(target: float, budgets: Sequence[int], accuracies: Iterable[float]) -> float:
    """Samples at which the curve, a line in log samples between budgets, crosses the target."""
    before: tuple[int, float] | None = None
    for steps, accuracy in zip(budgets, accuracies):
        if accuracy >= target:
            if before is None:
                return steps * BATCH
            share = (target - before[1]) / (accuracy - before[1])
            return math.exp(math.log(before[0]) + share * math.log(steps / before[0])) * BATCH
        before = steps, accuracy
    return math.inf


if __name__ == "__main__":
    sys.exit(main())
