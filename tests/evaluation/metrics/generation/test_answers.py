"""Scores of short answers: by hand, by the papers' definitions, with the scorers' oddities."""

import random
import statistics
import string

import pytest

from corekit.evaluation.metrics.generation.anls import anls, edits
from corekit.evaluation.metrics.generation.contractions import CONTRACTIONS
from corekit.evaluation.metrics.generation.figures import Answered, question_estimates
from corekit.evaluation.metrics.generation.mme import is_right, mme_estimates, yes_or_no
from corekit.evaluation.metrics.generation.short_answers import (
    choice,
    exact_match,
    first_letter,
    relaxed_accuracy,
)
from corekit.evaluation.metrics.generation.vqa import (
    normalized_vqa_accuracy,
    vqa_accuracy,
    without_punctuation,
)


@pytest.mark.parametrize(("agreeing", "accuracy"),
                         [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_accuracy_of_ten_people(agreeing: int, accuracy: float) -> None:
    """The table of the leave-one-out mean: 0, 0.3, 0.6, 0.9 and 1."""
    people = ["red"] * agreeing + [f"other {n}" for n in range(10 - agreeing)]
    assert vqa_accuracy("red", people) == pytest.approx(accuracy, abs=1e-15)


def test_vqa_accuracy_is_the_mean_over_people_left_out() -> None:
    """Any number of people, against the definition."""
    rng = random.Random(0)
    for _ in range(200):
        people = rng.choices("abcd", k=rng.randint(2, 12))
        shares = []
        for place in range(len(people)):
            others = [*people[:place], *people[place + 1:]]
            shares.append(min(1, others.count("b") / 3))
        assert vqa_accuracy("b", people) == pytest.approx(statistics.mean(shares), abs=1e-12)


@pytest.mark.parametrize(("text", "words"), [
    ("black/white", "black white"), ("black / white", "black  white"),
    ("1,000", "1000"), ("1,000 a/b", "1000 ab"), ("what?", "what "), ("what? no?", "what no"),
    ("3.5", "3.5"), ("3.", "3"), ("a.b", "ab"), ("." * 40, "." * 8), ("it's", "it's"),
    ("t-shirt", "t shirt"), ("a_b -c", "a b c")])
def test_punctuation(text: str, words: str) -> None:
    """Each sign is deleted or becomes a space; at most 32 full stops go."""
    assert without_punctuation(text) == words


@pytest.mark.parametrize(("answer", "same_as"), [
    ("The Dog", "dog"), ("two", "2"), ("None", "0"), ("a cat and an owl", "cat and owl"),
    ("dont\tknow\n", "don't know"), ("Couldnt've", "couldn't've"), ("somebody'd", "somebodyd")])
def test_words(answer: str, same_as: str) -> None:
    """Numbers, articles, contractions, capitals and line breaks."""
    assert vqa_accuracy(answer, [same_as] * 9 + ["other"]) == 1


def test_official_rule_leaves_unanimous_answers_alone() -> None:
    """Ten times "t-shirt" is never answered rightly: the answer alone loses its sign."""
    assert vqa_accuracy("t-shirt", ["t-shirt"] * 10) == 0
    assert vqa_accuracy("t-shirt", ["t-shirt"] * 9 + ["shirt"]) == 1
    assert normalized_vqa_accuracy("t-shirt", ["t-shirt"] * 10) == 1
    # and it does not change words of theirs
    assert vqa_accuracy("two", ["two"] * 9 + ["2"]) == pytest.approx(0.3)
    assert normalized_vqa_accuracy("two", ["two"] * 9 + ["2"]) == 1


def test_normalized_rule() -> None:
    """Commas and question marks go, and 's becomes a word of its own."""
    assert normalized_vqa_accuracy("Man's, hat?", ["man 's hat"] * 10) == 1


def test_contractions() -> None:
    """All keys but one are the contraction without an apostrophe or two."""
    assert len(CONTRACTIONS) == 120
    odd = {key for key, value in CONTRACTIONS.items()
           if key.replace("'", "") != value.replace("'", "") or key.count("'") > value.count("'")}
    assert odd == {"somebody'd"}


def test_anls() -> None:
    """1 - edits / length over several right answers, and 0 below a half."""
    assert anls("Hello", ["hello"]) == 1
    assert anls("hallo", ["hello", "goodbye"]) == pytest.approx(0.8)
    assert anls("abcd", ["abxy"]) == 0.5
    assert anls("abcd", ["axyz"]) == 0
    assert anls("", [""]) == 1
    assert anls("a  b", ["a b"]) == 1
    # the length is of the strings as they stand, in capitals
    assert anls("a   c", ["a b"]) == pytest.approx(1 - 1 / 5)
    assert anls("ß", ["s"]) == 0.5


def test_edits() -> None:
    """Against the recursive definition."""
    def recursive(first: str, second: str) -> int:
        if not first or not second:
            return len(first) + len(second)
        return min(recursive(first[1:], second) + 1, recursive(first, second[1:]) + 1,
                   recursive(first[1:], second[1:]) + (first[0] != second[0]))

    rng = random.Random(0)
    for _ in range(50):
        first, second = ("".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in range(2))
        assert edits(first, second) == recursive(first, second)


@pytest.mark.parametrize(("answer", "right", "score"), [
    ("105", "100", 1), ("105.1", "100", 0), ("95", "100", 1), ("-5", "5", 0), ("0", "0", 1),
    ("0.0", "0", 0), ("5%", "0.05", 1), ("5%", "5", 0), ("1,000", "1000", 0), ("1e3", "1000", 1),
    ("Yes", "yes", 1), ("yes.", "yes", 0), ("5 kg", "5 kg", 1), ("nan", "nan", 0)])
def test_relaxed_accuracy(answer: str, right: str, score: int) -> None:
    """Numbers within 5 %, and other answers as strings."""
    assert relaxed_accuracy(answer, [right]) == score


def test_exact_match() -> None:
    """Case and punctuation do not count; words do."""
    assert exact_match("Yes.", ["yes"]) == 1
    assert exact_match("t-shirt", ["tshirt"]) == 1
    assert exact_match("the dog", ["dog"]) == 0
    assert exact_match("dog", ["cat", "dog"]) == 1
    assert exact_match(string.punctuation, [""]) == 1


def test_letters() -> None:
    """ScienceQA takes the letter alone or with its full stop, SEED the first character."""
    assert [choice(answer, ["B"]) for answer in ("B", "b", " B ", "B. dog", "b. dog", "Bdog",
                                                 "A")] == [1, 1, 1, 1, 0, 0, 0]
    assert [first_letter(answer, ["B"]) for answer in ("B", "b", " Bdog", "A B", "")] == [
        1, 1, 1, 0, 0]


def test_yes_or_no() -> None:
    """The first four characters decide."""
    answers = {"Yes.": "yes", "NO": "no", "y": "yes", "n": "no", "x": "other", "yes, it": "yes",
               "not": "no", "I say no": "other", "": "other", "nope": "no", ".yes": "yes"}
    assert {answer: yes_or_no(answer) for answer in answers} == answers
    assert is_right("No, it is", ["No"])
    assert not is_right("maybe", ["No"])


def test_mme() -> None:
    """A task's score is the share of right replies and of wholly right pictures, in %."""
    replies = [("count", "1", [True, True]), ("count", "2", [True, False]),
               ("count", "3", [False, False]), ("count", "lost", [True]),
               ("OCR", "1", [True, True]), ("code_reasoning", "1", [True, False])]
    figures, tasks = mme_estimates([(task, picture, is_right) for task, picture, both in replies
                                    for is_right in both])
    assert tasks["count"].value == pytest.approx(50 + 100 / 3)
    assert figures["mme_perception"].value == pytest.approx(200 + 50 + 100 / 3)
    assert figures["mme_cognition"].value == 50
    # of the mean of 200, 50, 0: deviation / sqrt(3)
    error = statistics.pstdev([200, 50, 0]) / 3**0.5
    assert figures["mme_perception"].figure().standard_error == pytest.approx(error)


def test_question_estimates() -> None:
    """One figure of all, one for each category, with the standard error of a mean."""
    answered = [Answered("red", ["red"], "colour", "1"), Answered("blue", ["red"], "colour", "2"),
                Answered("2", ["2"], "number", "3"), Answered("x", ["y"], "", "4")]
    figures, categories = question_estimates("exact", answered)
    assert figures["exact_match"].value == 0.5
    assert figures["exact_match"].figure().standard_error == pytest.approx(0.25)
    assert {name: each.value for name, each in categories.items()} == {"colour": 0.5, "number": 1}
