"""Questions about OpenMoji scenes and their answers, true of the scene and of a word or a few."""

from collections.abc import Sequence
from random import Random
from typing import Literal, NamedTuple

from corekit.data.datasets.openmoji.background import COLOURS, TEXTURES
from corekit.data.datasets.openmoji.caption import pick
from corekit.data.datasets.openmoji.concepts import with_article
from corekit.data.datasets.openmoji.scene import Scene

Kind = Literal["object", "count", "colour", "pattern", "place", "presence"]
Phrasing = Literal["train", "held_out"]

# Questions that are held out use no other words; all fit an apple as well as jeans.
_QUESTIONS: dict[Kind, dict[Phrasing, tuple[str, ...]]] = {
    "object": {
        "train": ("what is the largest object?", "which object is the largest?",
                  "what is the main object in the picture?", "name the largest object."),
        "held_out": ("name the main object in the picture.",
                     "which is the largest object in the picture?"),
    },
    "count": {
        "train": ("how many objects are there?", "how many objects are in the picture?",
                  "count the objects.", "what is the number of objects?"),
        "held_out": ("count the objects in the picture.", "how many objects do you see?"),
    },
    "colour": {
        "train": ("what colour is the background?", "which colour does the background have?",
                  "what is the colour of the background?", "name the colour of the background."),
        "held_out": ("which colour is the background?", "what colour does the background have?"),
    },
    "pattern": {
        "train": ("what pattern is the background?", "which pattern does the background have?",
                  "what is the pattern of the background?",
                  "name the pattern of the background."),
        "held_out": ("which pattern is the background?", "what pattern does the background have?"),
    },
    "place": {
        "train": ("where do you see the {}?", "where in the picture do you see the {}?",
                  "in which part of the picture do you see the {}?",
                  "which part of the picture shows the {}?"),
        "held_out": ("in what part of the picture do you see the {}?",
                     "what part of the picture shows the {}?"),
    },
    "presence": {
        "train": ("do you see {}?", "do you see {} in the picture?", "does the picture show {}?",
                  "does any part of the picture show {}?"),
        "held_out": ("does the picture have {}?", "do you see {} in any part of the picture?"),
    },
}
KINDS: tuple[Kind, ...] = tuple(_QUESTIONS)
SIGNS = ("?", ".")  # which stand by themselves in a vocabulary of words
_NUMBERS = ("one", "two", "three", "four", "five", "six")
_PLACES = ("left", "right", "top", "bottom")
_ONE_COLOUR = ("plain", "grainy", "dotted")  # textures of which one colour is the background's
_APART = 0.1  # parts of the picture's side by which an object clearly lies to one side


class Question(NamedTuple):
    """A question and its one right answer."""

    kind: Kind
    question: str
    answer: str


def ask(random: Random, scene: Scene, names: Sequence[str], phrasing: Phrasing) -> list[Question]:
    """A question of every kind that the scene has an answer to, in a fixed order.

    Colours are asked for where one is the background's, and places where an object lies clearly
    to one side of the picture's middle and is the only one of its kind.

    Args:
        random: where the choice of words and of objects comes from.
        scene: what is asked about.
        names: one a concept.
        phrasing: which templates.
    """
    present = [placed.concept for placed in scene.objects]
    is_asked = random.random() < 0.5
    absent = [concept for concept in range(len(names)) if concept not in present]
    sought = pick(random, present if is_asked or not absent else absent)
    placed = [(names[each.concept], place) for each in scene.objects
              if present.count(each.concept) == 1
              and (place := _place(scene, each.left + each.width / 2, each.top + each.height / 2))]
    named, place = pick(random, placed) if placed else ("", "")
    texture = scene.background.texture
    answers: dict[Kind, tuple[str, str]] = {
        "object": ("", names[present[0]]), "count": ("", _NUMBERS[len(present) - 1]),
        "colour": ("", scene.background.colours[0] if texture in _ONE_COLOUR else ""),
        "pattern": ("", texture), "place": (named, place),
        "presence": (with_article(names[sought]), "yes" if sought in present else "no"),
    }
    return [Question(kind, pick(random, _QUESTIONS[kind][phrasing]).format(noun), answer)
            for kind, (noun, answer) in answers.items() if answer]


def words(names: Sequence[str]) -> list[str]:
    """Every word and sign that questions and answers about these concepts can hold, sorted."""
    nouns = [with_article(name) for name in names]
    questions = [template.replace("{}", noun) for of_kind in _QUESTIONS.values()
                 for templates in of_kind.values() for template in templates for noun in nouns]
    answers = [*names, *_NUMBERS, *COLOURS, *TEXTURES, *_PLACES, "yes", "no"]
    return sorted({word for text in (*questions, *answers) for word in split_words(text)})


def split_words(text: str) -> list[str]:
    """Words and the signs behind them."""
    for sign in SIGNS:
        text = text.replace(sign, f" {sign} ")
    return text.split()


def _place(scene: Scene, across: float, down: float) -> str:
    """The side of the picture that a point clearly lies to; '' where it is none."""
    right, lower = across - scene.size / 2, down - scene.size / 2
    if abs(abs(right) - abs(lower)) < _APART * scene.size:
        return ""
    if abs(right) > abs(lower):
        return "right" if right > 0 else "left"
    return "bottom" if lower > 0 else "top"
