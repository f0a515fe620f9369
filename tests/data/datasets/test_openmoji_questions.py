"""Questions about drawn scenes are true of them, and a function of seed, split and number."""

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest

from corekit import registry
from corekit.data.datasets.base import LEFT_OUT, BadSampleError, Sample, dataset_info
from corekit.data.datasets.openmoji.asking import _QUESTIONS, KINDS, ask, split_words, words
from corekit.data.datasets.openmoji.background import Background
from corekit.data.datasets.openmoji.questions import OpenMojiQuestions
from corekit.data.datasets.openmoji.scene import Placed, Scene
from corekit.errors import CorekitError

NAMES = ["red apple", "jeans", "duck"]


def scene(*placed: tuple[int, int, int], texture: str = "plain") -> Scene:
    background = Background(texture, ("red", "blue"), ((0, 0, 0), (1, 1, 1)), 0)
    return Scene(80, background, tuple(Placed(concept, 20, 1.0, 0.0, left, top, 20, 20)
                                       for concept, left, top in placed))


def answers(about: Scene, phrasing: Any = "train") -> dict[str, set[tuple[str, str]]]:
    """Of each kind, all questions and answers."""
    drawn: dict[str, set[tuple[str, str]]] = {}
    for seed in range(300):
        for kind, question, answer in ask(Random(seed), about, NAMES, phrasing):
            drawn.setdefault(kind, set()).add((question, answer))
    return drawn


def test_answers_are_true_of_the_scene() -> None:
    drawn = answers(scene((1, 0, 30), (0, 55, 32)))
    assert {answer for _, answer in drawn["object"]} == {"jeans"}
    assert {answer for _, answer in drawn["count"]} == {"two"}
    assert {answer for _, answer in drawn["colour"]} == {"red"}
    assert {answer for _, answer in drawn["pattern"]} == {"plain"}
    assert {("jeans" in question, answer) for question, answer in drawn["place"]} == {
        (True, "left"), (False, "right")}
    said = {(next(name for name in NAMES if name in question), answer)
            for question, answer in drawn["presence"]}
    assert said == {("jeans", "yes"), ("red apple", "yes"), ("duck", "no")}
    assert "do you see a red apple?" in {question for question, _ in drawn["presence"]}
    assert "do you see jeans?" in {question for question, _ in drawn["presence"]}


def test_what_has_no_clear_answer_is_not_asked() -> None:
    assert set(answers(scene((0, 30, 30), texture="striped"))) == {
        "object", "count", "pattern", "presence"}
    # in a corner, and two of a kind
    assert "place" not in answers(scene((0, 0, 0)))
    assert "place" not in answers(scene((0, 0, 30), (0, 60, 30)))
    assert {answer for _, answer in answers(scene((0, 30, 0)))["place"]} == {"top"}
    assert {answer for _, answer in answers(scene((0, 30, 60)))["place"]} == {"bottom"}


def test_held_out_sentences_are_others_of_the_same_words() -> None:
    train, held_out = (answers(scene((1, 0, 30), (0, 55, 32)), each)
                       for each in ("train", "held_out"))
    assert train.keys() == held_out.keys() == {*KINDS}
    assert all(not train[kind] & held_out[kind] for kind in KINDS)
    known = {word for templates in _QUESTIONS.values() for text in templates["train"]
             for word in split_words(text)}
    assert {word for templates in _QUESTIONS.values() for text in templates["held_out"]
            for word in split_words(text)} <= known
    listed = words(NAMES)
    assert known - {"{}"} <= {*listed}
    assert len(listed) == len({*listed})
    assert {"red", "apple", "a", "jeans", "six", "grainy", "lavender", "no", "?"} <= {*listed}


def rows(dataset: OpenMojiQuestions) -> list[Sample]:
    samples: list[Sample] = []
    for shard, count in enumerate(dataset.shard_sizes.tolist()):
        for handle in dataset.read(shard, 0, count):
            try:
                samples.append(dataset.decode(handle))
            except BadSampleError as error:
                if error.kind != LEFT_OUT:
                    raise
    return samples


def test_samples_are_a_function_of_seed_split_and_number() -> None:
    first, again = rows(OpenMojiQuestions(20)), rows(OpenMojiQuestions(20))
    assert [each["conversation"] for each in first] == [each["conversation"] for each in again]
    assert all(np.array_equal(*(np.asarray(each["pictures"][0]) for each in pair))
               for pair in zip(first, again, strict=True))
    others: list[dict[str, Any]] = [{"seed": 1}, {"split": "validation"}, {"templates": "held_out"}]
    for arguments in others:
        other = OpenMojiQuestions(20, **arguments)
        assert [each["conversation"] for each in rows(other)] != [
            each["conversation"] for each in first]
        assert other.fingerprint != OpenMojiQuestions(20).fingerprint


def test_questions_asked_singly_are_those_of_the_conversation() -> None:
    kinds = ("count", "colour", "place")
    whole = rows(OpenMojiQuestions(30, kinds=kinds))
    singly = OpenMojiQuestions(30, kinds=kinds, singly=True)
    assert singly.shard_sizes.tolist() == [90]
    assert dataset_info(singly).templates == (), "they are no sentences for names of classes"
    questions = rows(singly)
    pairs = Counter(pair for sample in whole for pair in zip(
        *([message.content for message in sample["conversation"][begin::2]] for begin in (0, 1))))
    assert pairs == Counter((each["question"], *each["answers"]) for each in questions)
    assert {each["category"] for each in questions} == {*kinds}
    assert len({each["question_id"] for each in questions}) == len(questions)
    assert set(questions[0]) == {"key", *singly.fields}


def test_bad_arguments_are_one_sentence() -> None:
    for arguments, message in (({"kinds": ["colours"]}, "colour"), ({"kinds": []}, "at least"),
                               ({"concepts": 1}, "concepts must be between 2")):
        with pytest.raises(CorekitError, match=message):
            registry.build("dataset", "openmoji_questions", arguments)
