"""The ``openmoji_referring`` dataset: phrases that fit one object of a drawn scene."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Sample
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.registry import register
from corekit.seeds import derive_seed

GENERATOR = 1  # raise it with every change that makes other phrases
APART = 0.1  # of the picture's side, from which one object is further left than another
LARGER = 1.5  # times the area, from which one object is larger than another
PLACE_ALONE = 0.3  # how often a phrase does not name the object

Boxes = NDArray[np.float32]
# a word, and how far a box is what the word says
_PLACES: dict[str, Callable[[NDArray[np.float32]], float]] = {
    "left": lambda box: -(box[0] + box[2]) / 2,
    "right": lambda box: (box[0] + box[2]) / 2,
    "top": lambda box: -(box[1] + box[3]) / 2,
    "bottom": lambda box: (box[1] + box[3]) / 2,
}


@register("dataset", "openmoji_referring")
class OpenMojiReferring:
    """Scenes of emoji, each with a phrase for one of its objects: "the left apple".

    A sample has ``image``, ``text``, the phrase, and ``boxes``, float32 [1, 4], the tight box of
    the object in pixels. A phrase names the object, with a place or size where several are of its
    kind, or it is a place or size alone: "the bottom one". The scenes are those of ``openmoji``.

    Args:
        samples, seed, split, concepts, size: as of openmoji.
        objects: least and largest number of objects in a scene.

    Raises:
        CorekitError: an argument out of range, or the extra ``demo`` is not installed.
    """

    def __init__(self, samples: int = 20_000, seed: int = 0,
                 split: Literal["train", "validation"] = "train", concepts: int = 20,
                 size: int = 64, objects: tuple[int, int] = (2, 3)) -> None:
        self.scenes = OpenMoji(samples, seed, split, concepts, size, objects, annotations=True)
        self.seed, self.split, self.side = seed, split, size
        self.name, self.fields = "openmoji_referring", ("image", "text", "boxes")
        self.shard_sizes, self.attribution = self.scenes.shard_sizes, self.scenes.attribution
        decides = f"referring {GENERATOR} {self.scenes.fingerprint}"
        self.fingerprint = hashlib.sha256(decides.encode()).hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[int]:
        """The numbers of ``count`` scenes of a shard from ``first``."""
        return self.scenes.read(shard, first, count)

    def key_of(self, handle: int) -> str:
        """The key of the scene of that number."""
        return self.scenes.key_of(handle)

    def decode(self, handle: int) -> Sample:
        """The scene of that number with its phrase."""
        scene = self.scenes.decode(handle)
        random = Random(derive_seed("openmoji_referring", self.seed, self.split, handle))
        nouns = [self.scenes.class_names[label] for label in scene["box_labels"]]
        text, target = refer(random, scene["boxes"], nouns, self.side)
        return {"key": scene["key"], "image": scene["image"], "text": text,
                "boxes": scene["boxes"][[target]]}


def refer(random: Random, boxes: Boxes, nouns: Sequence[str], side: int) -> tuple[str, int]:
    """A phrase, and the number of the only object that it fits.

    Args:
        random: decides between all such phrases.
        boxes: [n, 4], around the objects.
        nouns: what the objects are.
        side: of the picture, pixels.
    """
    everything = range(len(boxes))
    alone = [(f"the {word} one", number) for word, number in _set_apart(boxes, everything, side)]
    named: list[tuple[str, int]] = []
    for noun in dict.fromkeys(nouns):
        same = [number for number in everything if nouns[number] == noun]
        if len(same) == 1:
            named.append((f"the {noun}", same[0]))
        else:
            named += [(f"the {word} {noun}", number)
                      for word, number in _set_apart(boxes, same, side)]
    place_alone = bool(alone) and random.random() < PLACE_ALONE
    choices = alone if place_alone or not named else named
    if not choices:  # several of one kind, side by side: the one that is furthest to one side
        choices = _furthest(boxes, nouns)
    return choices[int(random.random() * len(choices))]


def _set_apart(boxes: Boxes, numbers: Sequence[int], side: int) -> Iterator[tuple[str, int]]:
    """Words that clearly fit one of several objects, and which one."""
    if len(numbers) < 2:
        return
    for word, how_far in _PLACES.items():
        *_, second, first = sorted(numbers, key=lambda number: how_far(boxes[number]))
        if how_far(boxes[first]) - how_far(boxes[second]) >= APART * side:
            yield word, first
    *_, second, first = by_area = sorted(numbers, key=lambda number: _area(boxes[number]))
    if _area(boxes[first]) >= LARGER * _area(boxes[second]):
        yield "large", first
    if _area(boxes[by_area[1]]) >= LARGER * _area(boxes[by_area[0]]):
        yield "small", by_area[0]


def _furthest(boxes: Boxes, nouns: Sequence[str]) -> list[tuple[str, int]]:
    number = max(range(len(boxes)), key=lambda each: _PLACES["left"](boxes[each]))
    return [(f"the left {nouns[number]}", number)]


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
