"""The ``openmoji_questions`` dataset: drawn scenes, and questions about each."""

import hashlib
import json
from random import Random
from typing import Literal

from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import LEFT_OUT, BadSampleError, Fields, Sample
from corekit.data.datasets.openmoji.asking import KINDS, ask
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.errors import CorekitError
from corekit.registry import register
from corekit.seeds import derive_seed

GENERATOR = 1  # raise it with every change that makes other questions


@register("dataset", "openmoji_questions")
class OpenMojiQuestions:
    """Scenes of emoji with questions about them, which are answered in a word or a few.

    Questions are of six kinds: ``object`` (which is the largest), ``count`` (how many),
    ``colour`` and ``pattern`` of the background, ``place`` (where is a named object: left, right,
    top, bottom) and ``presence`` (is there a named object: yes, no). Not every scene has all: a
    striped background has no one colour. A sample has ``pictures``, one scene of ``openmoji``, and
    ``conversation``, its questions and answers in a drawn order.

    Args:
        samples: how many scenes.
        seed: other seeds give other scenes and questions.
        split: the two draw from separate streams, whatever their seeds.
        concepts: how many kinds of objects.
        size: side of the square picture, pixels.
        objects: least and largest number of objects in a scene.
        kinds: the kinds of questions that are asked.
        templates: the sentences that questions are asked in: those of training, or some that are
            kept for evaluation, of the same words.
        singly: for evaluation: each question is a sample of its own, with ``pictures``,
            ``question``, ``answers``, ``question_id`` and ``category``, its kind. In a conversation
            earlier questions give later answers away.

    Raises:
        CorekitError: an argument out of range, or the extra ``demo`` is not installed.
    """

    def __init__(self, samples: int = 20_000, seed: int = 0,
                 split: Literal["train", "validation"] = "train", concepts: int = 20,
                 size: int = 80, objects: tuple[int, int] = (1, 2),
                 kinds: tuple[Literal["object", "count", "colour", "pattern", "place",
                                      "presence"], ...] = ("object", "count", "colour", "pattern",
                                                           "place", "presence"),
                 templates: Literal["train", "held_out"] = "train", singly: bool = False) -> None:
        if not kinds:
            raise CorekitError("dataset 'openmoji_questions' needs one of the kinds "
                               f"{', '.join(KINDS)} at least")
        self.scenes = OpenMoji(samples, seed, split, concepts, size, objects)
        self.seed, self.split = seed, split
        self.kinds = [kind for kind in KINDS if kind in kinds]
        self.phrasing, self.singly = templates, singly
        self.name, self.attribution = "openmoji_questions", self.scenes.attribution
        self.fields: Fields = ("pictures", "conversation")
        if singly:
            self.fields = ("pictures", "question", "answers", "question_id", "category")
        self.per_scene = len(self.kinds) if singly else 1
        self.shard_sizes = self.scenes.shard_sizes * self.per_scene
        decides = [GENERATOR, self.scenes.fingerprint, self.kinds, templates, singly]
        self.fingerprint = hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[int]:
        """The numbers of ``count`` samples of a shard from ``first``."""
        begin = int(self.shard_sizes[:shard].sum()) + first
        return list(range(begin, begin + count))

    def key_of(self, handle: int) -> str:
        """The key of the sample of that number."""
        number, kind = divmod(handle, self.per_scene)
        key = self.scenes.key_of(number)
        return f"{key}_{self.kinds[kind]}" if self.singly else key

    def decode(self, handle: int) -> Sample:
        """The scene of that number with its questions, or one question about it."""
        number, place = divmod(handle, self.per_scene)
        scene, _ = self.scenes.scene(number)
        random = Random(derive_seed("openmoji_questions", self.seed, self.split, number))
        questions = {each.kind: each for each in ask(random, scene, self.scenes.class_names,
                                                     self.phrasing) if each.kind in self.kinds}
        if not questions or (self.singly and self.kinds[place] not in questions):
            raise BadSampleError(LEFT_OUT, f"{self.key_of(handle)}: the scene has no answer to it")
        sample: Sample = {"key": self.key_of(handle), "pictures": [self.scenes.paint(scene)]}
        if self.singly:
            asked = questions[self.kinds[place]]
            return sample | {"question": asked.question, "answers": [asked.answer],
                             "question_id": sample["key"], "category": asked.kind}
        order = sorted(questions.values(), key=lambda each: random.random())
        return sample | {"conversation": [
            message for each in order for message in (Message("user", each.question),
                                                      Message("assistant", each.answer))]}
