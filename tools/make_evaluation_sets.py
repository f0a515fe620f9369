"""Make a folder of small evaluation sets of every task, laid out as DataComp's are.

`python tools/make_evaluation_sets.py OUT` draws scenes of OpenMoji, with classes, groups, a class
without a name, two classes of one name, fewer than five classes, several classes a picture, and
several captions a picture; choices are first written as WinoGAViL, SugarCrepe and Winoground
publish them, under OUT/raw. With the package foolbox (3.3.4) there are 100 real samples of
ImageNet, CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, and with two packages of Debian, real
photographs. OUT/sets.csv is their table:

    corekit-eval checkpoint=MODEL +evaluation=datacomp data.root=OUT \\
        evaluators.datacomp.table=OUT/sets.csv
"""

import argparse
import csv
import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corekit import registry
from corekit.data.datasets.base import Sample
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.photographs.pictures import installed
from corekit.data.photographs.sets import write_photographs
from corekit.data.shards.writer import write_shards
from corekit.evaluation.suite.sets import EvalSet, read_table
from corekit.seeds import numpy_generator

TEMPLATES = ["a drawing of a {}.", "a picture of a {}.", "{}"]
OPENINGS = ["a drawing of {}", "a picture of {}", "here you see {}", "an image that shows {}"]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck"]
FASHION = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
           "ankle boot"]
_CIFAR100 = """
    apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy,
    bridge, bus, butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee,
    clock, cloud, cockroach, couch, crab, crocodile, cup, dinosaur, dolphin, elephant,
    flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower,
    leopard, lion, lizard, lobster, man, maple tree, motorcycle, mountain, mouse, mushroom,
    oak tree, orange, orchid, otter, palm tree, pear, pickup truck, pine tree, plain, plate,
    poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark,
    shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet
    pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip, turtle,
    wardrobe, whale, willow tree, wolf, woman, worm
"""
CIFAR100 = [" ".join(name.split()) for name in _CIFAR100.split(",")]


class Made:
    """Samples that are there already, as a data set."""

    def __init__(self, samples: list[Sample], class_names: Sequence[str] = (),
                 templates: Sequence[str] = TEMPLATES) -> None:
        self.samples, self.class_names = samples, list(class_names)
        self.templates = list(templates) if class_names else []
        self.fields = tuple(name for name in samples[0] if name != "key")
        self.shard_sizes = np.array([len(samples)], dtype=np.int64)
        digest = hashlib.sha256(json.dumps([self.class_names, self.templates]).encode())
        for sample in samples:
            digest.update(sample["image"].convert("RGB").tobytes())
            digest.update(repr([sample[name] for name in sample if name != "image"]).encode())
        self.fingerprint = digest.hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[Sample]:
        """The samples themselves."""
        return self.samples[first:first + count]

    def decode(self, handle: Sample) -> Sample:
        """The sample itself."""
        return handle


@dataclass(frozen=True)
class Maker:
    """How many samples a set has, and how many pixels the side of a drawn picture has."""

    samples: int
    size: int

    def scenes(self, seed: int, concepts: int, most: int = 1) -> list[Sample]:
        """Drawn scenes with up to ``most`` objects of some concepts."""
        source = OpenMoji(self.samples, seed, "validation", concepts, self.size, (1, most),
                          annotations=True)
        return [source.decode(handle) for handle in source.read(0, 0, self.samples)]

    def classes(self, seed: int, concepts: int,
                metadata: Callable[[int, Sample], list[int]] | None = None,
                rename: Callable[[list[str]], list[str]] = list) -> Made:
        """Scenes of one object, and the number of its concept."""
        names = OpenMoji(1, concepts=concepts, objects=(1, 1)).class_names
        samples = []
        for number, scene in enumerate(self.scenes(seed, concepts)):
            sample = {name: scene[name] for name in ("key", "image", "label")}
            if metadata is not None:
                sample["metadata"] = np.array(metadata(number, scene))
            samples.append(sample)
        return Made(samples, rename(names))

    def twins(self) -> Made:
        """Eight classes, of which the last four have the names of the first four."""
        made = self.classes(5, 4, rename=lambda names: names * 2)
        for number, sample in enumerate(made.samples):
            sample["label"] += 4 * (number % 2)
        return Made(made.samples, made.class_names)

    def several(self) -> Made:
        """Scenes of up to three objects, and which of twelve concepts are in them."""
        names = OpenMoji(1, concepts=12).class_names
        samples = []
        for scene in self.scenes(6, 12, most=3):
            vector = np.zeros(12, dtype=np.uint8)
            vector[scene["box_labels"]] = 1
            samples.append({"key": scene["key"], "image": scene["image"], "label_vector": vector})
        return Made(samples, names)

    def captions(self) -> Made:
        """Scenes with three to five captions each."""
        samples = []
        for number, scene in enumerate(self.scenes(7, 100, most=3)):
            nouns = " and ".join(scene["nouns"])
            lines = [scene["text"], *(opening.format(nouns) for opening in OPENINGS)]
            samples.append({"key": scene["key"], "image": scene["image"],
                            "text": "\n".join(lines[:3 + number % 3])})
        return Made(samples)


def region(number: int, sample: Sample) -> list[int]:
    """FMoW's groups: region, year, class and 0; the last region has four samples."""
    return [5 if number < 4 else number % 5, 14 + number % 2, int(sample["label"]), 0]


def income(number: int, sample: Sample) -> list[int]:
    """Dollar Street's groups: income by one measure and another, and region."""
    return [number % 4, number // 2 % 4, number % 3]


def slide(number: int, sample: Sample) -> list[int]:
    """Camelyon17's groups: hospital, slide, class; slides count from 20."""
    return [2, 20 + number * number % 7, int(sample["label"])]


def drawn(maker: Maker) -> list[tuple[EvalSet, Made]]:
    """Sets of drawn scenes with the folders and figures of the real ones that they stand for."""
    blank = maker.classes(4, 6, rename=lambda names: [*names[:3], "", *names[4:]])
    return [
        _set("vtab/flowers", "mean_per_class_recall", maker.classes(1, 40)),
        _set("vtab/kitti_closest_vehicle_distance", "top1", maker.classes(2, 4)),
        _set("vtab/clevr_closest_object_distance", "top1", blank),
        _set("wilds/iwildcam", "f1_macro", maker.classes(3, 60)),
        _set("wilds/camelyon17", "top1", maker.classes(8, 2, slide), group=1),
        _set("wilds/fmow", "worst_group_top1", maker.classes(9, 12, region), group=0),
        _set("fairness/dollar_street", "worst_group_top5", maker.classes(10, 20, income), group=0),
        _set("twins", "top1", maker.twins()),
        _set("voc2007_multilabel", "map_macro", maker.several(), "multi_label"),
        _set("retrieval/mscoco_2014_5k_test_image_text_retrieval", "mean_r1", maker.captions(),
             "retrieval"),
    ]


def real(folder: Path) -> list[tuple[EvalSet, Made]]:
    """The samples in the package foolbox, whose names end in the number of their class."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    digits = [str(number) for number in range(10)]
    names = {"imagenet": ("imagenet1k", _IMAGENET_CATEGORIES), "cifar10": ("cifar10", CIFAR10),
             "cifar100": ("vtab/cifar100", CIFAR100), "mnist": ("mnist", digits),
             "fashionMNIST": ("fashion_mnist", FASHION)}
    sets = []
    for prefix, (key, class_names) in names.items():
        samples = [{"key": path.stem, "image": Image.open(path).convert("RGB"),
                    "label": int(path.stem.rpartition("_")[2])}
                   for path in sorted(folder.glob(f"{prefix}_*"))]
        templates = ["a photo of a {}.", "a photo of the {}."]
        sets.append(_set(key, "top1", Made(samples, class_names, templates)))
    return sets


def choices(maker: Maker, raw: Path) -> list[tuple[EvalSet, Any]]:
    """WinoGAViL, a part of SugarCrepe and Winoground, as their authors lay them out, and read."""
    scenes = maker.scenes(11, 50)
    draw = numpy_generator(0, "choices of evaluation sets")
    pictures, names = [f"scene {number}" for number in range(len(scenes))], OpenMoji(1).class_names
    for folder, ending in (("winogavil/winogavil_images", "png"), ("sugar_crepe/val2017", "png"),
                           ("winoground/data/images", "png")):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        for name, scene in zip(pictures, scenes):
            scene["image"].save(raw / folder / f"{name}.{ending}")
    with open(raw / "winogavil" / "winogavil_dataset.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "candidates", "cue", "associations", "ID"])
        for number in range(maker.samples // 2):
            chosen = draw.permutation(len(scenes))[:(5, 6, 10, 12)[number % 4]].tolist()
            right = chosen[:2 + number % 2]
            table.writerow([number, json.dumps([pictures[each] for each in sorted(chosen)]),
                            names[scenes[right[0]]["label"]].title(),
                            json.dumps([pictures[each] for each in right]), number])
    rows = {}
    for number, (name, scene) in enumerate(zip(pictures, scenes)):
        right = names[scene["label"]]
        wrong = names[(scene["label"] + 1 + number % 40) % 50]
        rows[str(2 * number)] = {"filename": f"{name}.png", "caption": scene["text"],
                                 "negative_caption": scene["text"].replace(right, wrong)}
    (raw / "sugar_crepe" / "swap_obj.json").write_text(json.dumps(rows))
    with open(raw / "winoground" / "data" / "examples.jsonl", "w") as file:
        for number in range(maker.samples // 2):
            pair = 2 * number, 2 * number + 1
            file.write(json.dumps({"id": number} | {
                f"{what}_{side}": value for side, each in enumerate(pair)
                for what, value in (("image", pictures[each]), ("caption", scenes[each]["text"]))
            }) + "\n")
    sources = {
        "misc/winogavil": ("jaccard_10_12", "winogavil", "winogavil", {}),
        "comp/sugarcrepe_swap_obj": ("accuracy", "selection", "sugar_crepe", {"part": "swap_obj"}),
        "comp/winoground": ("group_accuracy", "matching", "winoground", {}),
    }
    return [(_line(key, metric, task), registry.build("dataset", name, {"root": str(raw / name),
                                                                        **arguments}))
            for key, (metric, task, name, arguments) in sources.items()]


def _set(key: str, metric: str, made: Made, task: str = "classification",
         group: int | None = None) -> tuple[EvalSet, Made]:
    return _line(key, metric, task, group), made


def _line(key: str, metric: str, task: str, group: int | None = None) -> EvalSet:
    folder = key.removeprefix("fairness/").replace("/", "-")
    return EvalSet(key, key, (f"wds_{folder}_test",), task, metric, group=group)


def write(out: Path, eval_set: EvalSet, source: Any) -> EvalSet:
    """Write one set; returns its line of the table, with its numbers."""
    write_shards(source, out / eval_set.folders[0], 100, "png", split="test")
    instances = getattr(source, "instances", None)
    captions = None
    if eval_set.task == "retrieval":
        captions = sum(len(sample["text"].splitlines()) for sample in source.samples)
    return replace(eval_set, samples=len(instances or ()) or int(source.shard_sizes.sum()),
                   captions=captions, classes=len(source.class_names) or None)


def write_table(path: Path, sets: Sequence[EvalSet]) -> None:
    """Write the table of some sets."""
    with open(path, "w", newline="") as file:
        rows = [{name: ";".join(value) if isinstance(value, tuple) else value
                 for name, value in asdict(each).items()} for each in sets]
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=200, help="of each drawn set")
    parser.add_argument("--size", type=int, default=96, help="pixels of drawn pictures")
    parser.add_argument("--foolbox", type=Path, help="the folder of its data; default: installed")
    parser.add_argument("--packages", type=Path, default=Path("/"),
                        help="the folder that the packages of photographs lie under")
    options = parser.parse_args()
    maker = Maker(options.samples, options.size)
    sets: list[tuple[EvalSet, Any]] = [*drawn(maker), *choices(maker, options.out / "raw")]
    spec = importlib.util.find_spec("foolbox") if options.foolbox is None else None
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else options.foolbox
    if folder is not None:
        sets += real(folder)
    table = [write(options.out, eval_set, source) for eval_set, source in sets]
    if installed(options.packages):
        written = write_photographs(options.packages, options.out)
        table += [each for each in read_table("photographs")
                  if each.key.removeprefix("photographs/") in written]
    write_table(options.out / "sets.csv", table)
    for each in table:
        print(f"{each.key:<52} {each.task:<15} {each.samples:>6,} samples")


if __name__ == "__main__":
    main()
