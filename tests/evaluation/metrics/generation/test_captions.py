"""Figures of captions: words, and scores against closed forms and figures of pycocoevalcap 1.2."""

import math

import pytest

from corekit.evaluation.metrics.generation.bleu import bleu
from corekit.evaluation.metrics.generation.caption_words import caption_words
from corekit.evaluation.metrics.generation.cider import cider
from corekit.evaluation.metrics.generation.figures import caption_estimates
from corekit.evaluation.metrics.generation.rouge import common_words, rouge_l

CAPTIONS = ["a man rides a horse", "two dogs play", "a red bus on the street"]
REFERENCES = [["a man is riding a horse", "the man rides his brown horse"],
              ["two dogs are playing in the park", "dogs play with a ball"],
              ["a bus on a city street", "a red bus drives down the street", "red bus"]]
# what pycocoevalcap gives of them
CIDER, ROUGE = 2.367416434525619, 0.7060721062618596
BLEU = [0.807117746890087, 0.7300654712851046, 0.3774477513720719, 5.42793145780333e-05]


@pytest.mark.parametrize(("caption", "words"), [
    ("A dog. And a cat; they play!", "a dog and a cat they play"),
    ("It's the man's dog - can't see.", "it 's the man 's dog ca n't see"),
    ("8th ave. and 22 3/4 St.", "8th ave. and 22 3/4 st."),
    ("Near CTH D.", "near cth d."), ("In the U.S. at 9 p.m.", "in the u.s. at 9 p.m."),
    ("A man (in red)", "a man -lrb- in red -rrb-"),
    ("a 'stop' sign, \"here\"", "a stop sign here"), ("rock 'n' roll", "rock 'n roll"),
    ("\u201cCaf\u00e9\u201d \u2013 it\u2019s", "caf\u00e9 it 's"),
    ("black-and-white, 5,000 of it: 50%...", "black-and-white 5,000 of it 50 %"), ("", "")])
def test_words(caption: str, words: str) -> None:
    """Those of Stanford's tokenizer, punctuation removed."""
    assert caption_words(caption) == words.split()


def test_scores_are_those_of_the_reference_program() -> None:
    """pycocoevalcap's figures of three captions."""
    figures = caption_estimates(CAPTIONS, REFERENCES)
    expected = {"cider": CIDER, "bleu1": BLEU[0], "bleu2": BLEU[1], "bleu3": BLEU[2],
                "bleu4": BLEU[3], "rouge_l": ROUGE}
    assert {name: each.value for name, each in figures.items()} == pytest.approx(expected,
                                                                                 abs=1e-12)
    assert figures["cider"].figure().standard_error is not None


def test_cider_of_a_caption_that_is_its_reference() -> None:
    """10, less where it is short; 0 of a set of one picture."""
    words = [list("abcde"), list("fg")]
    assert cider(words, [[each] for each in words]) == pytest.approx([10, 5])
    assert cider(words[:1], [[words[0]]]) == [0]


def test_cider_lowers_captions_of_another_length() -> None:
    """exp(-d^2 / 72) for d bigrams more; the norm grows with the words that are too many."""
    references = [[list("ab")], [list("xy")]]
    # both n-grams of each order but one are right: unigrams 2 of 3, bigrams 1 of 2
    expected = 10 / 4 * (2 / math.sqrt(6) + 1 / math.sqrt(2)) * math.exp(-1 / 72)
    assert cider([list("abc"), list("xy")], references)[0] == pytest.approx(expected)


def test_cider_clips_repeated_words() -> None:
    """The second "a" adds to the norm of the caption alone."""
    references = [[["a"]], [["x"]]]
    expected = 10 / 4 * 1 / 2 * math.exp(-1 / 72)
    assert cider([["a", "a"], ["x"]], references)[0] == pytest.approx(expected)


def test_bleu() -> None:
    """Clipped counts, the closest length, and the shorter one where two are as close."""
    words, references = [["the"] * 7], [[["the", "cat", "the", "mat"], ["a", "cat"]]]
    assert bleu(words, references)[0] == pytest.approx(2 / 7)
    assert bleu([["a", "b"]], [[["a", "b", "c"], ["a", "b", "c", "d"]]])[1] == pytest.approx(
        math.exp(1 - 3 / 2))
    assert bleu([["a", "b"]], [[["a"], ["a", "b", "c"]]])[0] == pytest.approx(1 / 2**0, abs=1e-6)


def test_rouge_l() -> None:
    """The F-measure with recall 1.44 times as weighty, of the best of each over references."""
    assert common_words("abcde", "axcye") == 3
    precision, recall = 3 / 4, 3 / 3
    expected = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(list("abcd"), [list("abc"), list("abxyz")]) == pytest.approx(expected)
    assert rouge_l([], [["a"]]) == 0
