"""CatLIP's transfer with few images: rows of the pre-trained head against a random head.

    python tools/compare_transfer.py [--seeds 3] [--images 1 5 20] [--steps 200]

Pre-trains ``catlip_vit_nano`` on the nouns in captions of drawn scenes (``catlip/quickstart``),
draws 200 concepts alone, exactly as many images of each as asked for and others for every seed, and
tunes the whole model on them (``catlip/transfer_quickstart``), once from the rows of the concepts'
nouns and once from a random head. Top-1 is on 1,000 images that no run has seen; chance is 0.5 %.
Exits with 0 where copied rows are ahead with 1 and with 5 images a class.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path

from comparisons import command, cores, keep, mean, of, options, reached, run_all, summary

from corekit.data.datasets.openmoji.dataset import OpenMoji

HEADS = {"copied rows": "synsets", "random head": "random"}
FIRST_SEED = 100  # of the images, which pre-training and evaluation do not draw from
AHEAD = (1, 5)  # images a class with which copied rows are to win


def main() -> int:
    parser = options(__doc__, "runs/compare_transfer", jobs=cores())
    parser.add_argument("--images", type=int, nargs="+", default=[1, 5, 20], help="of each class")
    parser.add_argument("--steps", type=int, default=200, help="of tuning")
    parser.add_argument("--pretraining-steps", type=int, help="default: the recipe's")
    args = parser.parse_args()
    folder: Path = args.folder
    words = [f"engine.steps={args.pretraining_steps}"] if args.pretraining_steps else []
    command(folder, "pretrained", "corekit-train", "+recipe=catlip/quickstart",
            f"run_dir={folder}/pretrained", *words)
    for seed in range(args.seeds):
        draw(folder, args.images, seed)
    order = [(head, images, seed) for seed in range(args.seeds) for images in args.images
             for head in HEADS]
    figures = run_all(order, partial(tuned, folder, args.steps), args.jobs)
    print(f"top-1 after {args.steps} steps, mean of {args.seeds} seeds (lowest to highest)\n")
    print(f"{'images a class':<16}" + "".join(f"{head:>26}" for head in HEADS))
    for images in args.images:
        print(f"{images:<16}" + "".join(f"{summary(of(figures, head, images)):>26}"
                                        for head in HEADS))
    print("\n" + matched(folder / f"synsets_{args.images[0]}_0.txt"))
    keep(folder / "transfer.json", figures)
    copied, random = HEADS
    return 0 if all(mean(figures, copied, images) > mean(figures, random, images)
                    for images in args.images if images in AHEAD) else 1


def draw(folder: Path, images: list[int], seed: int) -> None:
    """Folders with so many images of each class; smaller ones hold the first of larger ones."""
    folders = [folder / f"images_{count}_{seed}" for count in images]
    if all((place / "classnames.txt").is_file() for place in folders):
        return
    source = OpenMoji(1_000_000, seed=FIRST_SEED + seed, objects=(1, 1))
    counts: Counter[int] = Counter()
    number = 0
    while min(counts[label] for label in range(len(source.class_names))) < max(images):
        sample = source.decode(number)
        label, number = sample["label"], number + 1
        counts[label] += 1
        for count, place in zip(images, folders):
            if counts[label] <= count:
                (place / f"{label:03d}").mkdir(parents=True, exist_ok=True)
                sample["image"].save(place / f"{label:03d}" / f"{counts[label]}.png")
    for place in folders:
        (place / "classnames.txt").write_text("".join(f"{name}\n" for name in source.class_names))


def tuned(folder: Path, steps: int, head: str, images: int, seed: int) -> float:
    """Tune one and give its top-1."""
    run = folder / f"{HEADS[head]}_{images}_{seed}"
    command(folder, run.name, "corekit-train", "+recipe=catlip/transfer_quickstart",
            f"init.path={folder}/pretrained", f"init.head={HEADS[head]}",
            f"data.root={folder}/images_{images}_{seed}", "data.dataset.name=folder",
            "data.dataset.fields={image: png, label: folder}",
            *(f"~data.dataset.{key}" for key in ("seed", "samples", "objects")),
            f"engine.steps={steps}", f"seed={seed}", f"schedule.warmup_steps={min(20, steps // 2)}",
            f"evaluators.classification.every_steps={steps}", f"run_dir={run}")
    return reached(run, "classification")


def matched(log: Path) -> str:
    """How the classes found their rows, as a run prints it."""
    return next((line for line in log.read_text().splitlines() if "rows of the head" in line), "")


if __name__ == "__main__":
    sys.exit(main())
