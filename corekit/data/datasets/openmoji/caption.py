"""Captions of OpenMoji scenes from a small English grammar, true of the scene they describe."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from corekit.data.datasets.openmoji.background import Background
from corekit.data.datasets.openmoji.concepts import plural, with_article
from corekit.data.datasets.openmoji.scene import Placed, Scene

_KINDS = ("a drawing of {}", "a picture of {}", "an illustration of {}", "a cartoon of {}",
          "an image of {}", "a sticker of {}")
TEMPLATES = tuple(kind.replace("{}", "a {}") for kind in _KINDS)
_OPENINGS = (*_KINDS, "{}", "a drawing showing {}", "this picture shows {}", "here you see {}")
_BACKGROUNDS = {
    "plain": ("on a {0} background", "on a plain {0} background", "in front of a {0} wall"),
    "gradient": ("on a background that fades from {0} to {1}", "on a {0} and {1} gradient"),
    "striped": ("on {0} and {1} stripes", "on a striped {0} and {1} background"),
    "checked": ("on a checked {0} and {1} background", "on {0} and {1} checks"),
    "dotted": ("on a {0} background with {1} dots", "on a {0} and {1} dotted background"),
    "grainy": ("on a grainy {0} background", "on a rough {0} wall"),
}
_NUMBERS = ("two", "three", "four", "five", "six")
_LARGE = 0.75  # parts of the picture's side from which, and up to which, the sizes are said
_SMALL = 0.3
T = TypeVar("T")


def describe_scene(random: Random, scene: Scene, names: Sequence[str], detail: float) -> str:
    """One caption; it names the main object and every other one, and counts them right.

    Args:
        random: where the choice of words comes from.
        scene: what is described.
        names: one a concept.
        detail: probability of saying each of background, place and size.
    """
    groups: dict[int, list[Placed]] = {}
    for placed in scene.objects:
        groups.setdefault(placed.concept, []).append(placed)
    if len(scene.objects) == len(groups) == 2 and random.random() < detail:
        phrase = _relation(random, scene, names, detail)
    else:
        phrase = _listing([_group(random, members, scene.size, names, detail)
                           for members in groups.values()])
    caption = pick(random, _OPENINGS).format(phrase)
    if random.random() < detail:
        caption += " " + _background(random, scene.background)
    return caption


def _background(random: Random, background: Background) -> str:
    phrase = pick(random, _BACKGROUNDS[background.texture]).format(*background.colours)
    return phrase.replace(" a orange", " an orange")


def _relation(random: Random, scene: Scene, names: Sequence[str], detail: float) -> str:
    main, other = scene.objects
    right, down = main.distance(other)
    if abs(right) > abs(down):
        place = "to the left of" if right > 0 else "to the right of"
    else:
        place = "above" if down > 0 else "below"
    first, second = (_group(random, [placed], scene.size, names, detail)
                     for placed in (main, other))
    return f"{first} {place} {second}"


def _group(random: Random, members: list[Placed], size: int, names: Sequence[str],
           detail: float) -> str:
    name = names[members[0].concept]
    if len(members) > 1:
        return f"{_NUMBERS[len(members) - 2]} {plural(name)}"
    part = members[0].side / size
    if _SMALL < part < _LARGE or random.random() >= detail:
        return with_article(name)
    words = ("large", "big") if part >= _LARGE else ("small", "little")
    return with_article(f"{pick(random, words)} {name}", name)


def _listing(phrases: list[str]) -> str:
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def pick(random: Random, choices: Sequence[T]) -> T:
    """One of several, by one draw."""
    return choices[int(random.random() * len(choices))]
