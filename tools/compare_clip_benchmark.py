"""Compare every figure of a suite with clip_benchmark's, of the same open_clip model, and the time.

    pip install --no-deps --target PEER clip-benchmark==1.6.2 scikit-learn scipy joblib \\
        threadpoolctl narwhals requests urllib3 idna charset-normalizer certifi "numpy==2.2.*"
    python tools/make_evaluation_sets.py SETS
    PYTHONPATH=PEER python tools/compare_clip_benchmark.py SETS [--model NAME] [--rounds 3]

The model has random weights; the one called small is described here. clip_benchmark's own data sets
and metrics evaluate it. For groups, F1 and WinoGAViL, which it has not, its logits or the features
go through DataComp's rules, written down here. A figure may differ by as many samples as a tie
decided. With --rounds both are timed, in turns, from the folders to the figures, and corekit keeps
nothing.
"""

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
from clip_benchmark.datasets import (  # type: ignore[import-not-found,unused-ignore]
    builder,
    sugar_crepe,
)
from clip_benchmark.metrics import (  # type: ignore[import-not-found,unused-ignore]
    image_caption_selection,
    zeroshot_classification,
    zeroshot_retrieval,
)
from PIL import Image
from safetensors.torch import save_file
from sklearn import metrics as sklearn_metrics  # type: ignore[import-not-found,unused-ignore]
from webdataset import WebDataset

from corekit.checkpoint.load import load
from corekit.evaluation.base import EvalModel
from corekit.evaluation.suite.sets import EvalSet, picked, read_table
from corekit.evaluation.suite.store import PREDICTIONS, set_folder
from corekit.evaluation.suite.suite import Suite

Figures = dict[str, float]
CLASSIFICATION = {"acc1": "top1", "acc5": "top5", "mean_per_class_recall": "mean_per_class_recall",
                  "mean_average_precision": "map_macro"}
SELECTION = {"text_acc": "text_accuracy", "image_acc": "image_accuracy", "acc": "group_accuracy"}
BATCH = 64  # clip_benchmark's
SMALL = {"embed_dim": 128, "vision_cfg": {"image_size": 64, "layers": 3, "width": 128,
                                          "head_width": 32, "patch_size": 16},
         "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4,
                      "layers": 3}}


class Pairs(torch.utils.data.Dataset[Any]):
    """Winoground as clip_benchmark's data set gives it, from the files instead of the hub."""

    def __init__(self, root: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.root, self.transform = root / "data", transform
        lines = (self.root / "examples.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, list[str]]:
        row = self.rows[index]
        images = [self.transform(Image.open(self.root / "images" / f"{row[f'image_{side}']}.png"))
                  for side in range(2)]
        return torch.stack(images), [row["caption_0"], row["caption_1"]]


@dataclass
class Peer:
    """clip_benchmark with a model of open_clip, in single precision on the CPU."""

    model: Any
    transform: Callable[[Image.Image], torch.Tensor]
    tokenizer: Any
    root: Path
    workers: int

    def evaluate(self, each: EvalSet) -> Figures:
        """The figures of a set by corekit's names."""
        folder = self.root / each.folders[0]
        if each.task in ("classification", "multi_label"):
            return self._classified(each, folder)
        if each.task == "retrieval":
            metrics = zeroshot_retrieval.evaluate(self.model, self._loader(folder, "retrieval"),
                                                  self.tokenizer, "cpu", False, [1, 5, 10])
            figures = {f"{way}_r{k}": metrics[f"{name}_retrieval_recall@{k}"] for k in (1, 5, 10)
                       for way, name in (("image_to_text", "text"), ("text_to_image", "image"))}
            both = figures["image_to_text_r1"] + figures["text_to_image_r1"]
            return {**figures, "mean_r1": both / 2}
        if each.task == "winogavil":
            return self._winogavil()
        raw = self.root / "raw"
        crepe = raw / "sugar_crepe"
        source = Pairs(raw / "winoground", self.transform) if each.task == "matching" else (
            sugar_crepe.SugarCrepe(crepe / "val2017", crepe / "swap_obj.json", self.transform))
        loader = torch.utils.data.DataLoader(
            source, batch_size=BATCH, num_workers=self.workers,
            collate_fn=builder.get_dataset_collate_fn("sugar_crepe/swap_obj"))
        metrics = image_caption_selection.evaluate(self.model, loader, self.tokenizer, "cpu", False)
        if each.task == "selection":
            return {"accuracy": metrics["text_acc"]}
        return {SELECTION[name]: value for name, value in metrics.items()}

    def _loader(self, folder: Path, task: str = "zeroshot_classification") -> Any:
        dataset = builder.build_dataset(f"wds/{folder.name}", root=str(folder), split="test",
                                        transform=self.transform, task=task)
        loader = torch.utils.data.DataLoader(dataset.batched(BATCH), batch_size=None,
                                             shuffle=False, num_workers=self.workers)
        loader.classes, loader.templates = dataset.classes, dataset.templates
        return loader

    def _classified(self, each: EvalSet, folder: Path) -> Figures:
        loader = self._loader(folder)
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        run = zeroshot_classification.run_classification

        def keeping(*arguments: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:
            kept.append(run(*arguments, **named))
            return kept[-1]

        zeroshot_classification.run_classification = keeping
        try:
            metrics = zeroshot_classification.evaluate(
                self.model, loader, self.tokenizer, loader.classes, loader.templates, "cpu", False)
        finally:
            zeroshot_classification.run_classification = run
        figures = {CLASSIFICATION[name]: value for name, value in metrics.items()}
        logits, target = kept[0]
        if each.metric == "f1_macro":
            figures["f1_macro"] = sklearn_metrics.f1_score(
                target, logits.argmax(1), average="macro", labels=np.unique(target))
        if each.group is not None:
            figures |= self._groups(folder, each.group, logits, target)
        return figures

    def _groups(self, folder: Path, group: int, logits: torch.Tensor,
                target: torch.Tensor) -> Figures:
        """Accuracy of the worst group, as DataComp takes it from WILDS."""
        count = int((folder / "test" / "nshards.txt").read_text())
        shards = [str(folder / "test" / f"{number}.tar") for number in range(count)]
        rows = [row for (row,) in WebDataset(shards, shardshuffle=False).decode().to_tuple("npy")]
        groups = torch.tensor(np.stack(rows))[:, group]
        figures = {}
        for k in (1, 5):
            if logits.shape[1] >= k:
                hit = (logits.topk(k).indices == target[:, None]).any(1).float()
                of_groups = [float(hit[groups == each].mean()) for each in np.unique(groups)]
                figures[f"worst_group_top{k}"] = min(of_groups)
        return figures

    @torch.no_grad()
    def _winogavil(self) -> Figures:
        """DataComp's rule: as many candidates of highest cosine as there are associations."""
        scores: dict[int, list[float]] = {}
        folder = self.root / "raw" / "winogavil"
        with open(folder / "winogavil_dataset.csv", newline="") as file:
            for row in csv.DictReader(file):
                names, cue = json.loads(row["candidates"]), row["cue"].lower()
                right = np.isin(names, json.loads(row["associations"]))
                images = torch.stack([self.transform(Image.open(
                    folder / "winogavil_images" / f"{name}.png")) for name in names])
                text = self.tokenizer([f"{'An' if cue[0] in 'aeiou' else 'A'} {cue}"])
                cosines = (self.model.encode_text(text, normalize=True)
                           @ self.model.encode_image(images, normalize=True).T)[0].numpy()
                chosen = np.isin(np.arange(len(names)), np.argsort(cosines)[-right.sum():])
                jaccard = sklearn_metrics.jaccard_score(right, chosen)
                scores.setdefault(len(names), []).append(jaccard)
        groups = {"jaccard": (5, 6, 10, 12), "jaccard_5": (5,), "jaccard_6": (6,),
                  "jaccard_10": (10,), "jaccard_12": (12,), "jaccard_5_6": (5, 6),
                  "jaccard_10_12": (10, 12)}
        return {name: float(np.mean([each for size in sizes for each in scores[size]]))
                for name, sizes in groups.items()}


class Counting:
    """A tokenizer that counts sentences, which the text tower gets as they come."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.sentences, self.distinct = tokenizer, 0, set[str]()

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        """The tokenizer's."""
        self.sentences += len(sentences)
        self.distinct |= {*sentences}
        tokens: torch.Tensor = self.tokenizer(sentences)
        return tokens


def tied_samples(name: str, kept: Mapping[str, Any]) -> int:
    """How many samples of a figure are decided by the order of equal scores."""
    if "_to_" in name:
        way, k = name.split("_to_")[0], int(name.rpartition("_r")[2])
        above, tied = kept[f"{way}_above"], kept[f"{way}_tied"]
        right = kept["image_right"] if way == "image" else 1
        return int(((above < k) & (above + tied + right > k) & (tied > 0)).sum())
    if "scores" in kept or name == "mean_r1":
        return 0
    tied = kept["tied"] > 0
    return int((tied & (kept["above"] == 0) if "above" in kept else tied).sum())


def compare(key: str, ours: Mapping[str, Mapping[str, Any]], theirs: Figures,
            kept: Mapping[str, Any]) -> list[str]:
    """A line for each figure that both have; what differs by more than ties explain ends in !."""
    lines = []
    for name, value in theirs.items():
        own = ours[name]["value"]
        if own is None or math.isnan(value):
            same = own is None and math.isnan(value)
            lines.append(f"{key:<50} {name:<22} {'none' if same else f'{own} {value} !'}")
            continue
        ties, difference = tied_samples(name, kept), own - value
        # theirs are rounded to single precision
        fine = abs(difference) <= ties / ours[name]["samples"] + 3e-7
        lines.append(f"{key:<50} {name:<22} {own:.6f} {value:.6f} {difference:+.1e}"
                     f"{f'  {ties} ties' if ties else ''}{'' if fine else ' !'}")
    return lines


def write_model(config: Any, folder: Path) -> None:
    """Write a model with random weights, as open_clip's hub has them."""
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD,
                  "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path, help="the folder that make_evaluation_sets.py made")
    parser.add_argument("--model", default="small", help="small, or open_clip's name of one")
    parser.add_argument("--keep", type=Path, help="the folder to write the model to")
    parser.add_argument("--pick", nargs="*", default=[], help="patterns of sets; default: all")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0, help="how often both are timed")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    write_model(SMALL if options.model == "small" else open_clip.get_model_config(options.model),
                folder)
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    peer = Peer(model.eval(), transform, open_clip.get_tokenizer(name), options.sets,
                options.workers)
    loaded = load(folder)
    table = str(options.sets / "sets.csv")
    sets = picked(read_table(table), options.pick)
    def ours(store: Path | None = None) -> tuple[Any, Counting]:
        counting = Counting(loaded.tokenizer)
        eval_model = EvalModel(loaded.model, loaded.preprocess, counting, torch.device("cpu"),
                               nullcontext, workers=options.workers, store=store)
        result = Suite(table, str(options.sets), options.pick, keep_features=False)(eval_model)
        return result.details["sets"], counting

    def theirs() -> dict[str, Figures]:
        return {each.key: peer.evaluate(each) for each in sets}

    figures, counting = ours(folder)
    lines = []
    for key, of_set in theirs().items():
        with np.load(set_folder(folder, key) / PREDICTIONS) as kept:
            lines += compare(key, figures[key], of_set, dict(kept))
    print("\n".join(lines))
    wrong = [line for line in lines if line.endswith("!")]
    print(f"{len(lines)} figures of {len(sets)} sets, {len(wrong)} of them differ")
    print(f"{counting.sentences / len(counting.distinct):.4f} text passes a distinct sentence")
    seconds = [(_seconds(theirs), _seconds(ours)) for _ in range(options.rounds)]
    if seconds:
        print(f"clip_benchmark {median(each for each, _ in seconds):.1f} s, corekit "
              f"{median(each for _, each in seconds):.1f} s: {len(seconds)} times each, "
              f"{median(each / own for each, own in seconds):.2f} times as long")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
