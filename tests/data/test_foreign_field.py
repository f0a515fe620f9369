"""A project outside the repository with a field of its own, and all that goes with it: no file of
corekit knows of it.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from corekit import CorekitError, registry
from corekit.data.shards.writer import write_shards
from tests.conftest import corekit_command

FIELD = '''
import numpy as np
import torch
from corekit.data.fields import Field
from corekit.registry import register


@register("field", "boxes2")
class Boxes2(Field):
    """Boxes as rows of four 32-bit floats, and how many each sample has."""

    extensions = ("b2",)
    geometry = "boxes"
    offsets = "boxes2_count"  # not offsets, in fact, and corekit need not know

    def decode(self, content, where):
        return np.frombuffer(content, np.float32).reshape(-1, 4)

    def encode(self, value, extension):
        return np.asarray(value, np.float32).tobytes()

    def collate(self, values, tokenizer):
        rows = [torch.as_tensor(value) for value in values]
        return {"boxes2": torch.cat(rows), "boxes2_count": torch.tensor([len(row) for row in rows])}

    def join(self, parts):
        return {name: torch.cat([part[name] for part in parts])
                for name in ("boxes2", "boxes2_count")}

    def cut(self, batch, first, last):
        count = batch["boxes2_count"]
        begin, end = int(count[:first].sum()), int(count[:last].sum())
        return {"boxes2": batch["boxes2"][begin:end], "boxes2_count": count[first:last]}

    def example(self, samples, preprocess, tokenizer, device):
        return {"boxes2": torch.zeros(samples, 4, device=device),
                "boxes2_count": torch.ones(samples, dtype=torch.int64, device=device)}


@register("field", "colours")
class Colours(Field):
    """A word for each box, which goes where its box goes."""

    offsets = "boxes2_count"

    def collate(self, values, tokenizer):
        return {"colours": [word for value in values for word in value]}
'''
PARTS = '''
import numpy as np
import torch
from corekit.registry import declare_kind, register
from PIL import Image
from torch import nn
from torchvision.transforms import v2

declare_kind("prior", "what a box is taken for before the picture is looked at")


@register("prior", "middle")
class Middle:
    """A box in the middle."""

    def __init__(self, size: int) -> None:
        self.box = torch.tensor([0.25, 0.25, 0.75, 0.75]) * size


@register("dataset", "squares")
class Squares:
    """Pictures of 64 x 64 pixels with a square at (8, 8), 16 wide; every other one at the right."""

    fields = ("image", "boxes2", "colours")

    def __init__(self, samples: int = 24) -> None:
        self.shard_sizes, self.fingerprint = np.array([samples]), f"squares {samples}"

    def read(self, shard, first, count):
        return list(range(first, first + count))

    def decode(self, handle):
        pixels = np.full((64, 64, 3), handle, np.uint8)
        boxes = [[8, 8, 24, 24], [60, 0, 64, 9]][:1 + handle % 2]
        for left, top, right, bottom in boxes:
            pixels[top:bottom, left:right] = 255
        return {"key": f"{handle:03}", "image": Image.fromarray(pixels),
                "boxes2": np.array(boxes, np.float32), "colours": ["left", "right"][:len(boxes)]}


@register("transform", "mirrored")
def mirrored(preprocess):
    """The mirror image without its left eighth, by torchvision."""
    size = preprocess.size
    return v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Lambda(lambda value: value),
                       Cut(), v2.Resize((size, size))])


class Cut(v2.Transform):
    def transform(self, inpt, params):
        return v2.functional.crop(inpt, 0, 8, 64, 56)


@register("transform", "of_the_image")
class OfTheImage:
    """A crop of someone who had no boxes."""

    def __init__(self, preprocess):
        self.size = preprocess.size

    def __call__(self, image):
        return torch.from_numpy(np.array(image.resize((self.size, self.size)))).permute(2, 0, 1)


@register("model", "one_box")
class OneBox(nn.Module):
    """The same box in each picture, and a shift."""

    def __init__(self, prior) -> None:
        super().__init__()
        self.prior, self.shift = prior, nn.Linear(3, 4)

    def forward(self, image):
        return {"box": self.prior.box.to(image) + self.shift(image.mean((2, 3)))}


@register("loss", "box_distance")
class BoxDistance:
    """Distances of edges; and what the boxes were, for the log."""

    def weights(self, boxes2_count):
        return dict.fromkeys(("distance", "left", "width", "boxes"), len(boxes2_count))

    def __call__(self, box, boxes2, boxes2_count):
        one_each = box.repeat_interleave(boxes2_count, 0)
        assert len(boxes2) == len(one_each)
        seen = {"left": boxes2[:, 0], "width": boxes2[:, 2] - boxes2[:, 0], "boxes": boxes2_count}
        return {"distance": (one_each - boxes2).abs().sum(),
                **{name: value.sum() + 0 * box.sum() for name, value in seen.items()}}
'''
RECIPE = """\
# @package _global_
# Squares, and where they are.
model: {name: one_box, prior: {name: middle, size: 28}}
loss: {name: box_distance}
data:
  workers: 2
  streams: 4
  window: 4
  dataset: {name: squares}
  transform: {name: mirrored}
  preprocess: {size: 28, mean: [0, 0, 0], std: [1, 1, 1]}
engine: {steps: 2, batch_size: 8, micro_batch: 4, device: cpu, precision: fp32}
schedule: {warmup_steps: 0}
log: {every_steps: 1}
"""
WANTED = {"box_distance/left": 16.0, "box_distance/width": 8.0, "box_distance/boxes": 1.0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run; the project lies elsewhere."""
    project, work = tmp_path / "foreign", tmp_path / "work"
    (project / "recipes").mkdir(parents=True)
    work.mkdir()
    (project / "field.py").write_text(FIELD)
    (project / "parts.py").write_text(PARTS)
    (project / "recipes" / "first.yaml").write_text(RECIPE)
    monkeypatch.chdir(work)
    monkeypatch.setenv("COREKIT_PROJECTS", str(project))
    return work


def train(folder: Path, *words: str) -> list[dict[str, float]]:
    done = corekit_command("corekit-train", "+recipe=foreign/first", "run_dir=run", *words,
                           folder=folder)
    assert done.returncode == 0, done.stderr
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_trains_on_boxes_that_moved_with_the_picture(folder: Path) -> None:
    steps = train(folder)
    assert len(steps) == 2
    for step in steps:  # the box at the right is not in the part that is left of the mirror image
        assert {name: step[name] for name in WANTED} == WANTED
    events = EventAccumulator(str(folder / "run" / "tensorboard"))
    events.Reload()
    encoded = folder / "first_batch.png"
    encoded.write_bytes(events.Images("data/first_batch")[0].encoded_image_string)
    red, green, _ = np.asarray(Image.open(encoded).convert("RGB")).astype(int).transpose(2, 0, 1)
    assert ((red > 200) & (green < 60)).sum() > 100, "boxes are drawn"


def test_shards_hold_it_are_checked_and_trained_on(folder: Path) -> None:
    write_shards(registry.build("dataset", "squares"), folder / "shards", 12, "png")
    with tarfile.open(folder / "shards" / "000000.tar") as archive:
        assert archive.getnames()[:4] == ["000.b2", "000.png", "001.b2", "001.png"]
    done = corekit_command("corekit", "data", "check", "shards", "--workers", "2", "--picture",
                           "picture.png", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "b2 24, png 24" in done.stdout
    assert (folder / "picture.png").is_file()
    dataset = "data.dataset={name: webdataset, root: shards, fields: {image: png, boxes2: b2}}"
    for step in train(folder, "~data.dataset.name", dataset):
        assert {name: step[name] for name in WANTED} == WANTED


@pytest.mark.parametrize("transform", ["of_the_image", "random_resized_crop"])
def test_a_transform_that_leaves_it_behind_is_refused(folder: Path, transform: str) -> None:
    done = corekit_command("corekit-train", "+recipe=foreign/first", "run_dir=run", "dry_run=true",
                           f"data.transform.name={transform}", folder=folder)
    if transform == "random_resized_crop":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2
    assert ("transform `of_the_image` does not move `boxes2` (boxes) with the picture: choose "
            "another transform, such as random_resized_crop, or leave `boxes2` out of the "
            "dataset's fields") in done.stderr.replace("\n", " ")


def test_a_field_that_is_not_there_is_a_sentence(folder: Path) -> None:
    source = registry.build("dataset", "squares")
    source.fields = {"image": "image", "boxes2": "boxes2", "colours": "colors"}
    with pytest.raises(CorekitError, match=r"no field is called 'colors' \(did you mean 'colours'"):
        write_shards(source, folder / "shards")
