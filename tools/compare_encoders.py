"""What a pre-trained encoder is worth in a language model: answers about drawn scenes.

    python tools/compare_encoders.py [--seeds 3] [--steps N] [--jobs 2]

Pre-trains an encoder (``aimv2/quickstart``), and trains ``aimv2/multimodal_quickstart`` with every
seed twice: from that encoder and from a random one. Questions are about 1,000 scenes that no run
has seen, in sentences that none was trained with. Prints exact match by kind of question, and the
difference over all questions with its 95 % interval, paired by question and taken over seeds and
questions. Exits with 0 where the interval lies above 0.
"""

import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from comparisons import command, cores, options, records, run_all, summary

SIDES = ("pre-trained", "random")


def main() -> int:
    parser = options(__doc__, "runs/compare_encoders", jobs=cores())
    parser.add_argument("--steps", type=int, help="of both trainings; default: the recipes'")
    args = parser.parse_args()
    folder: Path = args.folder.absolute()
    steps = [f"engine.steps={args.steps}"] if args.steps else []
    command(folder, "encoder", "corekit-train", "+recipe=aimv2/quickstart",
            "~evaluators.attentive_probe", "~evaluators.patch_pictures",
            f"run_dir={folder}/encoder", *steps)
    order = [(side, seed) for seed in range(args.seeds) for side in SIDES]
    run_all(order, partial(trained, folder, steps), args.jobs)
    runs = {each: evaluation(folder / f"{each[0]}_{each[1]}") for each in order}
    for side in SIDES:
        of_side = [runs[side, seed] for seed in range(args.seeds)]
        print(f"{side}, mean of {args.seeds} seeds (lowest to highest)")
        print(f"  {'all':<10}{summary(each['metrics']['exact_match'] for each in of_side)}; blind "
              f"{summary(each['metrics']['blind_exact_match'] for each in of_side)}")
        for kind in of_side[0]["by_category"]:
            values = summary(each["by_category"][kind] for each in of_side)
            blind = summary(each["blind_by_category"].get(kind, 0.0) for each in of_side)
            print(f"  {kind:<10}{values}; blind {blind}")
    pairs = [differences(folder, seed) for seed in range(args.seeds)]
    low, mean, high = interval(pairs)
    print(f"pre-trained minus random, 95 % interval: {mean:+.1%} ({low:+.1%} to {high:+.1%})")
    return 0 if low > 0 else 1


def trained(folder: Path, steps: list[str], side: str, seed: int) -> float:
    """Train one, and give its exact match."""
    run = folder / f"{side}_{seed}"
    start = [f"init.parts.encoder.path={folder}/encoder"] if side == SIDES[0] else []
    command(folder, run.name, "corekit-train", "+recipe=aimv2/multimodal_quickstart",
            f"seed={seed}", f"run_dir={run}", "data.workers=0",
            "evaluators.questions.dataset.samples=1000", *start, *steps)
    return float(evaluation(run)["metrics"]["exact_match"])


def evaluation(run: Path) -> dict[str, Any]:
    """The record of the last evaluation of a run."""
    return records(run / "evaluations.jsonl")[-1]


def differences(folder: Path, seed: int) -> list[float]:
    """Of each question, right from the pre-trained encoder minus right from the random one."""
    sides = [{line["question_id"]: float(line["answer"] in line["right"])
              for line in map(json.loads, answers(folder / f"{side}_{seed}").splitlines())}
             for side in SIDES]
    return [sides[0][key] - sides[1][key] for key in sides[0].keys() & sides[1].keys()]


def answers(run: Path) -> str:
    return sorted(run.glob("evaluations/questions/*/answers.jsonl"))[-1].read_text()


def interval(pairs: list[list[float]]) -> tuple[float, float, float]:
    """Mean and 95 % interval of differences, by the spread of seeds and of questions in them."""
    means = [statistics.mean(each) for each in pairs]
    of_questions = statistics.mean(statistics.variance(each) / len(each) for each in pairs)
    of_seeds = statistics.variance(means) if len(means) > 1 else of_questions
    error = (max(of_seeds, of_questions) / len(means)) ** 0.5
    mean = statistics.mean(means)
    # Student's t for two degrees of freedom and a few more
    t = {1: 1.96, 2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(means), 2.5)
    return mean - t * error, mean, mean + t * error


if __name__ == "__main__":
    sys.exit(main())
