"""AIMv2 trained on patches, on words and on both (Fini et al., 2024, table 9): its probes.

    python tools/compare_objectives.py [--seeds 3] [--steps 1200]

Trains ``aimv2/quickstart`` with the next patch alone, the next word alone and both, every seed with
the same steps of the same batches, and probes the frozen encoder with attention over its tokens:
top-1 on 1,000 scenes of 200 concepts, chance is 0.5 %. An untrained encoder (one step at a rate of
1e-9) shows the probe of random features. Exits with 0 where the order is the paper's: both at
least as good as words, and words better than patches.
"""

import sys
from functools import partial
from pathlib import Path

from comparisons import command, cores, keep, mean, of, options, reached, run_all, summary

WORDS_ONLY = ("model.objective=text", "~loss.next_patch", "~evaluators.patch_pictures")
OBJECTIVES: dict[str, tuple[str, ...]] = {  # what they change of the recipe
    "image only": ("model.objective=image", "~loss.next_token"), "words only": WORDS_ONLY,
    "both": ()}
UNTRAINED = "untrained"


def main() -> int:
    args = options(__doc__, "runs/compare_objectives", jobs=cores(), steps=1200).parse_args()
    folder: Path = args.folder
    order = [(objective, seed) for seed in range(args.seeds)
             for objective in (UNTRAINED, *OBJECTIVES)]
    figures = run_all(order, partial(trained, folder, args.steps), args.jobs)
    keep(folder / "objectives.json", figures)
    print(f"attentive probe, top-1 after {args.steps} steps, mean of {args.seeds} seeds "
          "(lowest to highest)\n")
    for objective in (UNTRAINED, *OBJECTIVES):
        print(f"{objective:<14}{summary(of(figures, objective)):>28}")
    image, words, both = (mean(figures, objective) for objective in OBJECTIVES)
    return 0 if both >= words > image else 1


def trained(folder: Path, steps: int, objective: str, seed: int) -> float:
    """Train one and give what its probe reaches."""
    words = (*OBJECTIVES[objective], f"engine.steps={steps}") if objective in OBJECTIVES else (
        *WORDS_ONLY, "engine.steps=1", "schedule.warmup_steps=0", "optimizer.learning_rate=1e-9")
    run = folder / f"{objective.replace(' ', '_')}_{seed}"
    command(folder, run.name, "corekit-train", "+recipe=aimv2/quickstart", f"seed={seed}",
            f"data.dataset.seed={seed}", f"run_dir={run}", *words)
    return reached(run, "attentive_probe")


if __name__ == "__main__":
    sys.exit(main())
