"""``corekit new NAME``: a small project that works, to be read first and then changed."""

import keyword
import os
import re
from pathlib import Path

from corekit import registry
from corekit.errors import CorekitError
from corekit.files import replacing
from corekit.projects import find_projects

MODEL = '''\
import torch.nn.functional as F
from corekit.registry import register
from torch import Tensor, nn


@register("model", "NAME_towers")
class Towers(nn.Module):
    """Two small towers into one space: images of 32 x 32 pixels, and captions as bags of tokens."""

    def __init__(self, width: int = 64, vocab_size: int = 49408) -> None:
        super().__init__()
        self.encode_image = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=4), nn.GELU(), nn.Conv2d(width, width, 3), nn.GELU(),
            nn.Flatten(), nn.Linear(25 * width, width))
        self.encode_text = nn.EmbeddingBag(vocab_size, width)

    # Asks for entries of the batch by their names.
    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        return {"image_features": self.encode_image(image), "text_features": self.encode_text(text)}


@register("loss", "NAME_agreement")
class Agreement:
    """Each image must find the captions of its own label among all captions of the batch."""

    compares_samples = True  # so it is called with the whole batch, whoever computes its parts

    def __call__(self, image_features: Tensor, text_features: Tensor, label: Tensor) -> Tensor:
        logits = 10 * F.normalize(image_features) @ F.normalize(text_features).T  # [B, B]
        right = (label[:, None] == label).float()
        return F.cross_entropy(logits, right / right.sum(1, keepdim=True))
'''

DATA = '''\
from random import Random

import numpy as np
from corekit.data.loading.batch_shape import FixedSize
from corekit.registry import register
from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue")
SIDES = {"triangle": 3, "square": 4, "disc": 30}


@register("dataset", "NAME_shapes")
class Shapes:
    """Coloured shapes and what they are called: sample n is drawn from (seed, n)."""

    fields = ("image", "text", "label")

    def __init__(self, samples: int = 10_000, seed: int = 0) -> None:
        self.seed, self.shard_sizes = seed, np.array([samples])  # all in one shard
        self.fingerprint = f"shapes {samples} {seed}"  # another string for other samples
        self.class_names = [f"{colour} {shape}" for colour in COLOURS for shape in SIDES]

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> dict[str, object]:
        random = Random(f"{self.seed} {handle}")
        label = random.randrange(len(self.class_names))
        colour, shape = self.class_names[label].split()
        image, circle = Image.new("RGB", (32, 32), "white"), (16, 16, random.uniform(5, 15))
        angle = random.uniform(0, 360)
        ImageDraw.Draw(image).regular_polygon(circle, SIDES[shape], angle, fill=colour)
        return {"key": str(handle), "image": image, "text": f"a {colour} {shape}", "label": label}


@register("sampler", "NAME_echo")
class Echo(FixedSize):
    """Data echoing (Choi et al., 2019): every batch is trained on `echoes` times in a row."""

    def __init__(self, batch_size: int, streams: int, echoes: int = 2) -> None:
        super().__init__(batch_size, streams)
        self.echoes = echoes

    # What every stream gives to the batch of a step: a function of the step alone.
    def draws(self, step: int) -> range:
        return super().draws(step // self.echoes)
'''

RECIPE = """\
# @package _global_
# Coloured shapes and their names: a first run of some seconds.
model: {name: NAME_towers}
loss: {name: NAME_agreement}
sampler: {name: NAME_echo}
data:
  {workers: 1, streams: 16, dataset: {name: NAME_shapes}, preprocess: {size: 32},
   tokenizer: {name: clip_bpe, context_length: 8}}
engine: {steps: 200, batch_size: 64, micro_batch: 64}
schedule: {warmup_steps: 0}
evaluators: {zero_shot: {name: zero_shot, dataset: {name: NAME_shapes, samples: 500, seed: 1}}}
"""

README = """\
# NAME

What is the idea, and which figures does it give?

| figure | value | command |
|---|---|---|
| zero-shot top-1 on 500 drawn shapes | | `corekit-train +recipe=NAME/first` |
"""

FILES = {"model.py": MODEL, "data.py": DATA, "recipes/first.yaml": RECIPE, "README.md": README}


def new_project(name: str) -> Path:
    """Write ``./projects/NAME``, complete or not at all.

    Returns:
        its folder.

    Raises:
        CorekitError: the name cannot be one or is taken, or the folder is there or cannot be
            written.
    """
    folder = Path("projects") / name
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise CorekitError(f"'{name}' cannot be a project's name: take lower-case letters, digits "
                           "and _, beginning with a letter, and no word of Python's own")
    if name in find_projects():
        raise CorekitError(f"there is a project '{name}' in {find_projects()[name].folder} "
                           "already: take another name")
    if os.path.lexists(folder):
        raise CorekitError(f"{folder} is there already, and nothing of it is changed: "
                           "take another name")
    files = {file: text.replace("NAME", name) for file, text in FILES.items()}
    for kind, entry in re.findall(r'@register\("(\w+)", "(\w+)"\)', "".join(files.values())):
        if entry in registry.entries(kind):
            path = registry.find(kind, entry).path
            raise CorekitError(f"a {kind} is called '{entry}' already ({path}): take another name")
    try:
        with replacing(folder) as writing:
            for file, text in files.items():
                (writing / file).parent.mkdir(parents=True, exist_ok=True)
                (writing / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CorekitError(f"{folder} cannot be written: {error}") from None
    return folder
