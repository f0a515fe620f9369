"""Scenes of OpenMoji drawings: which ones, where, how large, how turned; and their pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corekit.data.datasets.openmoji.background import Background, draw_background
from corekit.data.datasets.openmoji.sprites import aspect, turned_sprite

_MOST_DEGREES = 25
_OVERLAP = 0.08  # the part of the smaller of two bounding boxes that another may cover
_TRIES = 8  # places tried before an object is made smaller
_SMALLEST = 0.35  # the least side of any object, in sides of the main one
_VISIBLE = 64  # alpha from which a pixel is an object's: thin outlines of small sprites' own
_AGAIN = 0.15  # how often a further object is another one of the main concept


@dataclass(frozen=True)
class Placed:
    """One sprite: its concept, longer side in pixels, angle, and pixel box."""

    concept: int
    side: float
    cosine: float
    sine: float
    left: int
    top: int
    width: int
    height: int

    def distance(self, other: "Placed") -> tuple[float, float]:
        """From this one's middle to the other's: pixels to the right, pixels down."""
        return (other.left - self.left + (other.width - self.width) / 2,
                other.top - self.top + (other.height - self.height) / 2)


@dataclass(frozen=True)
class Scene:
    """A square picture of `size` pixels, whose first object is the main and largest one."""

    size: int
    background: Background
    objects: tuple[Placed, ...]


def draw_scene(random: Random, size: int, objects: tuple[int, int], emoji: Sequence[str],
               repeatable: Sequence[bool]) -> Scene:
    """A random scene. Uses `random.random()` alone, whose numbers no Python release changes.

    Args:
        random: where all draws come from.
        size: side of the picture, pixels.
        objects: least and largest number of objects.
        emoji: one a concept.
        repeatable: whether a concept may be there more than once.
    """
    background = draw_background(random)
    count = objects[0] + int(random.random() * (objects[1] - objects[0] + 1))
    main = int(random.random() * len(emoji))
    concepts = [main]
    while len(concepts) < count:
        if repeatable[main] and random.random() < _AGAIN:
            concepts.append(main)
            continue
        other = int(random.random() * len(emoji))
        if other not in concepts:
            concepts.append(other)
    # a single one most often fills nearly all of the picture; several share the room
    side = size * (0.95 - 0.45 * random.random()**2 if count == 1 else
                   (0.85 - 0.2 * random.random()) / count**0.5)
    while True:
        placed = _lay_out(random, size, side, concepts, emoji)
        if placed:
            return Scene(size, background, placed)
        side *= 0.9


def _lay_out(random: Random, size: int, side: float, concepts: list[int],
             emoji: Sequence[str]) -> tuple[Placed, ...]:
    """Places for all concepts, the first with that side; nothing where one finds no room."""
    placed: list[Placed] = []
    for concept in concepts:
        own_side = side * (0.4 + 0.3 * random.random()) if placed else side
        place = _place(random, size, emoji[concept], concept, own_side, _SMALLEST * side, placed)
        if place is None:
            return ()
        placed.append(place)
    return tuple(placed)


def _place(random: Random, size: int, emoji: str, concept: int, side: float, least: float,
           others: list[Placed]) -> Placed | None:
    radians = math.radians(_MOST_DEGREES * (2 * random.random() - 1))
    # rounded: the same from any C library
    cosine, sine = round(math.cos(radians), 6), round(math.sin(radians), 6)
    wide, high = aspect(emoji)
    wide, high = wide * cosine + high * abs(sine), wide * abs(sine) + high * cosine
    side = min(side, (size - 2) / max(wide, high))
    while side >= least:
        width, height = math.ceil(wide * side) + 1, math.ceil(high * side) + 1
        for _ in range(_TRIES):
            left = int(random.random() * (size - width + 1))
            top = int(random.random() * (size - height + 1))
            placed = Placed(concept, side, cosine, sine, left, top, width, height)
            if not any(_crowd(placed, other) for other in others):
                return placed
        side *= 0.85
    return None


def _crowd(one: Placed, other: Placed) -> bool:
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return width > 0 and height > 0 and width * height > _OVERLAP * smaller


def paint_scene(scene: Scene, emoji: Sequence[str]) -> Image.Image:
    """The scene's picture, RGB."""
    return _paint(scene, emoji)[0]


def annotate_scene(scene: Scene, emoji: Sequence[str]) -> tuple[Image.Image, NDArray[np.uint8],
                                                                NDArray[np.float32]]:
    """The scene's picture, and the visible part of each object.

    Returns:
        image: the picture of `paint_scene`, RGB.
        masks: uint8 [n, H, W], 1 where the object is seen; no two overlap.
        boxes: float32 [n, 4], the tight (x1, y1, x2, y2) around each mask, in pixels, x2 and y2
            exclusive.
    """
    image, drawings = _paint(scene, emoji)
    masks = np.zeros((len(drawings), scene.size, scene.size), dtype=np.uint8)
    boxes = np.zeros((len(drawings), 4), dtype=np.float32)
    free = np.ones((scene.size, scene.size), dtype=bool)
    for index in reversed(range(len(drawings))):  # the last painted lies on top
        placed = scene.objects[index]
        rows = slice(placed.top, placed.top + placed.height)
        columns = slice(placed.left, placed.left + placed.width)
        visible = (np.asarray(drawings[index].getchannel("A")) >= _VISIBLE) & free[rows, columns]
        masks[index, rows, columns] = visible
        free[rows, columns] &= ~visible
        down, across = np.nonzero(masks[index])
        boxes[index] = across.min(), down.min(), across.max() + 1, down.max() + 1
    return image, masks, boxes


def _paint(scene: Scene, emoji: Sequence[str]) -> tuple[Image.Image, list[Image.Image]]:
    image = scene.background.paint(scene.size)
    drawings = [turned_sprite(emoji[placed.concept], placed.side, placed.cosine, placed.sine,
                              placed.width, placed.height) for placed in scene.objects]
    for placed, drawing in zip(scene.objects, drawings):
        image.paste(drawing, (placed.left, placed.top), drawing)
    return image, drawings
