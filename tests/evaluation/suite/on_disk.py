"""Sets on disk whose figures are known: a picture's colour is its number, a sentence is one too."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.evaluation.known import Table

COLUMNS = "key,name,folders,task,metric,samples,captions,classes,chance,group,averages"
CLASSES = 6
# key -> the rest of its line of the table
TABLE = {
    "plain": "Plain,plain_test,classification,top1,12,,6,,,all",
    "two": "Two,two_test,classification,mean_per_class_recall,10,,2,,,all",
    "groups": "Groups,groups_test,classification,worst_group_top1,11,,6,,0,",
    "several": "Several,several_test,multi_label,map_macro,9,,6,,,",
    "captions": "Captions,captions_test,retrieval,mean_r1,7,13,,,,",
    "right": "Right,right_test,selection,accuracy,5,,,,,",
    "pairs": "Pairs,pairs_test,matching,group_accuracy,4,,,,,",
    "cues": "Cues,cues_test,winogavil,jaccard_5_6,4,,,,,",
}


def picture(number: int) -> bytes:
    """A picture that ``Table`` knows the features of by its number."""
    content = io.BytesIO()
    Image.new("RGB", (2, 2), (number % 256, number // 256, 0)).save(content, "PNG")
    return content.getvalue()


def write_shards(folder: Path, samples: Sequence[Mapping[str, bytes]], shards: int = 2) -> None:
    """Write the test shards of a set: a mapping of extension to bytes for each sample."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    most = -(-len(samples) // shards)
    for shard in range(shards):
        with tarfile.open(folder / "test" / f"{shard}.tar", "w") as archive:
            for number in range(shard * most, min(len(samples), (shard + 1) * most)):
                for extension, content in samples[number].items():
                    member = tarfile.TarInfo(f"s{number:03d}.{extension}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def write_names(folder: Path, names: Sequence[str], templates: Sequence[str]) -> None:
    """Write class names and templates beside the shards."""
    (folder / "classnames.txt").write_text("\n".join(names) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(templates) + "\n")


def npy(values: Sequence[int]) -> bytes:
    """Whole numbers as a .npy file."""
    content = io.BytesIO()
    np.save(content, np.array(values, dtype=np.int64))
    return content.getvalue()


def classified(count: int, classes: int, **more: Sequence[bytes]) -> list[dict[str, bytes]]:
    """Samples with labels, and more members by extension."""
    return [{"png": picture(number), "cls": b"%d" % (number % classes),
             **{name: values[number] for name, values in more.items()}} for number in range(count)]


def write_sets(root: Path) -> Path:
    """A folder with a set of every task, and their table; returns the table's file."""
    digits = [str(number) for number in range(CLASSES)]
    write_shards(root / "plain_test", classified(12, CLASSES))
    write_names(root / "plain_test", digits, ["{c}", "1{c}"])
    write_shards(root / "two_test", classified(10, 2))
    write_names(root / "two_test", digits[:2], ["{c}"])
    groups = [npy([number % 3, 2000]) for number in range(11)]
    write_shards(root / "groups_test", classified(11, CLASSES, npy=groups))
    write_names(root / "groups_test", digits, ["1{c}", "{c}"])
    draw = np.random.default_rng(0)
    targets = [npy(row) for row in draw.integers(0, 2, (9, CLASSES)).tolist()]
    write_shards(root / "several_test", [{"png": picture(20 + number), "npy": row}
                                         for number, row in enumerate(targets)])
    write_names(root / "several_test", digits, ["2{c}"])
    write_shards(root / "captions_test", [
        {"png": picture(number), "txt": b"\n".join(b"%d" % each for each in range(
            number, number + 1 + number % 3))} for number in range(7)])
    write_shards(root / "right_test", [{"png": picture(number)} for number in range(5)])
    write_choices(root / "right_test", [([number], [f"{number}", f"{number + 5}", "9"], [0])
                                        for number in range(5)])
    write_shards(root / "pairs_test", [{"png": picture(number)} for number in range(8)])
    write_choices(root / "pairs_test", [([2 * number, 2 * number + 1],
                                         [f"{number}", f"{number + 40}"], [0, 1])
                                        for number in range(4)])
    write_shards(root / "cues_test", [{"png": picture(number)} for number in range(10)])
    write_choices(root / "cues_test", [(list(range(number, number + 5 + number % 2)),
                                        [f"{number + 3}"], [0, 2]) for number in range(4)])
    table = root / "table.csv"
    table.write_text("\n".join([COLUMNS, *(f"{key},{row}" for key, row in TABLE.items())]) + "\n")
    return table


def write_choices(folder: Path,
                  choices: Sequence[tuple[Sequence[int], Sequence[str], Sequence[int]]]) -> None:
    """Write the choices among a set's pictures."""
    lines = [json.dumps({"pictures": [f"s{number:03d}" for number in pictures],
                         "sentences": list(sentences), "right": list(right)})
             for pictures, sentences, right in choices]
    (folder / "instances.jsonl").write_text("\n".join(lines) + "\n")


class Counting(Table):
    """Random features of pictures and sentences; counts how many it is asked for."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        super().__init__(torch.randn(64, 8, generator=generator),
                         torch.randn(100, 8, generator=generator))
        self.sentences: list[int] = []

    def encode_text(self, text: torch.Tensor) -> torch.Tensor:
        self.sentences += text[:, 0].tolist()
        return super().encode_text(text)
