"""Captions to synsets, against CoreNet's order of operations written out with NLTK, and its golden
facts.
"""

import pickle
from random import Random

import nltk
import pytest
from corekit_projects.catlip.labels import LONGEST, NounLabels, clean
from corekit_projects.catlip.wordnet import open_wordnet

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.openmoji.caption import TEMPLATES
from corekit.data.datasets.openmoji.concepts import concept_names
from corekit.errors import CorekitError

IMAGE, BLACK, DOG, STREET = "n05928118", "n04960277", "n02084071", "n04334599"
HOT_DOG, FIRE_ENGINE = "n10187710", "n03345487"
PHOTOGRAPH, FRISBEE, CHILD, ICE_CREAM = "n03925226", "n03397947", "n09917593", "n07614500"


def corenet(caption: str) -> list[str]:
    """CoreNet's steps, with NLTK's own functions; it also tags, and does not look at the tags."""
    keys: list[str] = []
    # one sentence: punkt would give it whole
    for token in nltk.word_tokenize(clean(caption), preserve_line=True):
        forms = open_wordnet()._morphy(token, "n")
        word = min(forms, key=len) if forms else token
        try:
            synset = open_wordnet().synset(f"{word}.n.01")
        except Exception:
            continue
        if synset.name() == f"{word}.n.01":
            key = f"n{synset.offset():08d}"
            keys += [key] if key not in keys else []
    return keys


def test_corenets_example() -> None:
    assert NounLabels()("An image of black dog.") == [IMAGE, BLACK, DOG]


@pytest.mark.parametrize(("caption", "wanted"), [
    ("dogs, DOGS and a dog", [DOG]),
    ("(dog)", [DOG]),
    ("the dog's street", [DOG, STREET]),
    ("dog. street", [DOG, STREET]),
    ("dog.", [DOG]),
    ("%64og+street", [DOG, STREET]),
    ("<b class='x'>street</b> dog", [STREET, DOG]),
    ("\n dog\n", [DOG]),
    ("the \u201cdog\u201d", [DOG]),
    ("a dog. (AP", [DOG]),
    ("a dog.(AP", []),  # CoreNet, which asks punkt where sentences end, finds it
    ("photo", []),
    ("of with the", []),
    ("", []),
    ("   ", []),
    ("\u72d7", []),
    ("\u0441\u043e\u0431\u0430\u043a\u0430", []),
    ("\U0001f436\U0001f436", []),
    ("fire_engine", [FIRE_ENGINE]),
    ("\x00\x01", []),
    (".n.01", []),
    ("'" * 50, []),
])
def test_what_a_caption_names(caption: str, wanted: list[str]) -> None:
    assert NounLabels()(caption) == wanted


def test_the_paper_keeps_what_is_tagged_as_a_noun_whatever_its_synset_is_called() -> None:
    tagged = NounLabels("tagged")
    assert tagged("a dog catching a frisbee") == [DOG, FRISBEE]
    assert tagged("an image of a black dog") == [IMAGE, DOG], "black is said of the dog"
    assert tagged("a photo of a kid") == [PHOTOGRAPH, CHILD], "kid.n.01 is called child"
    assert NounLabels()("a photo of a kid") == []


def test_nouns_of_several_words() -> None:
    two = NounLabels()("two")
    assert NounLabels()("two hot dogs, a fire engine") == [*two, DOG, *NounLabels()("fire engine")]
    assert NounLabels(compounds=True)("two hot dogs, a fire engine, ice cream and a dog") == [
        *two, HOT_DOG, FIRE_ENGINE, ICE_CREAM, DOG]
    assert NounLabels(compounds=True)("hot, dogs") == [DOG], "a comma parts them"
    assert NounLabels("tagged", compounds=True)("two boys eating hot dogs") == [
        *NounLabels("tagged")("boys"), HOT_DOG
    ]


def test_captions_are_labelled_as_corenet_does_it() -> None:
    random = Random(0)
    words = [
        *concept_names()[:200], "photos", "it's", "can't", "$5.00", "10,000", "U.S.", "e.g",
        "well-known", "--", "...", "don't", "cannot", "(big)", "\"quoted\"", "O'Neil's", "[sic]",
        "50%", "a&b", "caf\u00e9", "gonna", "women", "geese", "Cannot,", "x" * 40, "buses,",
        "boxes;", "was", "us", "has", "leaves", "dice?", "axes!"
    ]
    labels = NounLabels()
    for index in range(400):
        caption = random.choice(TEMPLATES).format(" ".join(
            random.choices(words, k=random.randrange(1, 9)))) + random.choice(
                (".", "", "!", " ?", ".)"))
        assert labels(caption) == corenet(caption), (index, caption)


def test_what_it_remembers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corekit_projects.catlip.labels._REMEMBERED", 3)
    for settings in ({}, {"nouns": "tagged"}, {"compounds": True}):
        labels = NounLabels(**settings)  # type: ignore[arg-type]
        captions = ["a black dog", "hot dogs on a street", "an image of a black dog on a street"]
        wanted = [NounLabels(**settings)(caption) for caption in captions]  # type: ignore[arg-type]
        assert [labels(caption) for caption in captions * 2] == wanted * 2
        assert [pickle.loads(pickle.dumps(labels))(caption) for caption in captions] == wanted


def test_captions_that_are_none() -> None:
    with pytest.raises(CorekitError, match=r"must be a string, not bytes"):
        NounLabels()(b"a dog")  # type: ignore[arg-type]
    with pytest.raises(BadSampleError, match="10,000,000 characters") as caught:
        NounLabels()("a" * 10_000_000)
    assert caught.value.kind == "long_text"
    assert NounLabels()("<" * LONGEST) == []
    with pytest.raises(CorekitError, match="first_sense or tagged"):
        NounLabels("verbs")  # type: ignore[arg-type]
