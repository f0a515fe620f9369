"""Transfer initialisation: classes find their synsets and rows as the paper has it, and as NLTK's
path similarity says.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from corekit_projects.catlip.transfer import NearestRows, SynsetRows, match, read_classes
from corekit_projects.catlip.vocabulary import Vocabulary
from corekit_projects.catlip.wordnet import key_of, open_wordnet

from corekit.checkpoint.initial.new_head import Match
from corekit.errors import CorekitError
from corekit.recipes.build import run_config
from corekit.recipes.schema import RunConfig

SYNSETS = ("image.n.01", "dog.n.01", "kitchen.n.01", "restaurant.n.01", "ice.n.01", "cream.n.01",
           "creating_by_removal.n.01")


def vocabulary(*names: str) -> Vocabulary:
    return Vocabulary({key_of(open_wordnet().synset(name)): 9 for name in names})


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "v.tsv").write_text(vocabulary(*SYNSETS[:4]).table())
    return str(tmp_path / "v.tsv")


@pytest.mark.parametrize(
    ("name", "rows", "how"),
    [("dog", (1, ), "name"),
     # the paper's: the average of both
     ("restaurant kitchen", (3, 2), "words"), ("restaurant_kitchen", (3, 2), "words"),
     # the paper's: a random row
     ("archaeological excavation", (), "random"), ("/a/archaeological_excavation", (), "random"),
     ("n02084071", (1, ), "wnid"), ("n01440764", (), "random"),
     ("domestic dog, Canis familiaris", (1, ), "name"), ("Canis familiaris", (1, ), "name"),
     ("photo", (), "random"),
     ("ice cream", (4, 5), "words"),  # as captions are mined, where nouns are single words
     ("/a/kitchen/indoor", (2, ), "words"), ("in the", (), "random"), ("", (), "random"),
     ("xyzzy", (), "random")])
def test_a_class_finds_its_rows(name: str, rows: tuple[int, ...], how: str) -> None:
    matched = match(name, NearestRows(vocabulary(*SYNSETS[:6]), 1.0))
    assert (matched.name, matched.rows, matched.how) == (name, rows, how)
    assert matched.similarity == (1.0 if rows else None)


def test_similar_ones_count_from_alpha_on_and_the_synset_itself_comes_first() -> None:
    whole = vocabulary(*SYNSETS)
    excavation = match("archaeological excavation", NearestRows(whole, 0.5))
    assert excavation == Match("archaeological excavation", (6, ), "words", 0.5,
                               "creating_by_removal.n.01")
    assert match("puppy", NearestRows(whole, 0.5)).rows == (1,)
    assert match("puppy", NearestRows(whole, 0.51)).rows == ()
    assert match("kitchen dog", NearestRows(whole, 0.1)).similarity == 1.0
    assert match("ice cream", NearestRows(vocabulary("frozen_dessert.n.01"),
                                          0.5))[1:4] == ((0, ), "name", 0.5)
    both = vocabulary("frozen_dessert.n.01", "ice.n.01", "cream.n.01")
    assert match("ice cream",
                 NearestRows(both, 0.5))[1:4] == ((1, 2), "words",
                                                  1.0), "its words themselves, before its kind"
    # cat and dog share carnivore, two steps up each: of equally similar ones the most frequent,
    # which is the first
    cat = key_of(open_wordnet().synset("cat.n.01"))
    assert NearestRows(vocabulary("dog.n.01", "wolf.n.01"), 0.2)(cat) == (0, 0.2)
    assert NearestRows(vocabulary("wolf.n.01", "fox.n.01", "dog.n.01"), 0.2)(cat) == (0, 0.2)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.06])
def test_nearest_rows_are_those_of_nltks_path_similarity(alpha: float) -> None:
    wordnet, draw = open_wordnet(), random.Random(0)
    nouns = sorted(wordnet.called)
    keys, asked = draw.sample(nouns, 60), draw.sample(nouns, 12)
    asked += [key_of(hyponym) for key in keys for hyponym in wordnet.noun(key).hyponyms()][:6]
    nearest = NearestRows(Vocabulary(dict.fromkeys(keys, 1)), alpha)
    reached = 0
    for key in asked:
        all_of_them = [wordnet.noun(key).path_similarity(wordnet.noun(other)) for other in keys]
        best = max(all_of_them)
        expected = (all_of_them.index(best), pytest.approx(best)) if best >= alpha else None
        assert nearest(key) == expected
        reached += expected is not None
    assert reached >= 4


def test_the_head_says_what_does_not_fit(table: str, tmp_path: Path) -> None:
    def refused(sentence: str, names: list[str], rows: int = 4, **arguments: Any) -> None:
        with pytest.raises(CorekitError, match=sentence):
            SynsetRows(**arguments)(names, rows, None)

    (tmp_path / "strange.tsv").write_text(Path(table).read_text().replace("n02084071", "n02084072"))
    refused("has 4 synsets, but the head in init.path has 24,320 rows", ["dog"], rows=24320,
            vocabulary=table)
    refused("1 of the vocabulary's 4 synsets are not in this WordNet", ["dog"],
            vocabulary=str(tmp_path / "strange.tsv"))
    refused("n99999999 is no noun of this WordNet", ["n99999999"], vocabulary=table)
    refused("has no names of classes", [], vocabulary=table)
    refused("names no vocabulary", ["dog"])
    refused("nowhere.txt cannot be read .*coco, imagenet1k", ["dog"], vocabulary=table,
            classes="nowhere.txt")
    (tmp_path / "book.txt").write_text("dog\n" + "word " * 300)
    refused("book.txt cannot be read .a line of it has more than 1,000", ["dog"], vocabulary=table,
            classes=str(tmp_path / "book.txt"))
    refused("needs similarity above 0", ["dog"], similarity=0.0)


def test_the_vocabulary_is_found_in_the_weights_own_recipe(table: str, tmp_path: Path) -> None:
    trained_as = run_config({
        "model": {"name": "m"},
        "data": {"dataset": {"name": "stored_labels", "vocabulary": table, "size": 3}}
    })
    (tmp_path / "mine.txt").write_text("a dog \n\tKitchen\n")

    def rows(names: list[str], count: int, recipe: RunConfig | None = None,
             **arguments: Any) -> list[tuple[int, ...]]:
        return [each.rows for each in SynsetRows(**arguments)(names, count, recipe)]

    assert rows(["restaurant", "dog"], 3, trained_as, similarity=1) == [(), (1,)]
    assert rows(["restaurant", "dog"], 4, vocabulary=table, similarity=1) == [(3,), (1,)]
    assert rows(["x"], 4, vocabulary=table, classes=str(tmp_path / "mine.txt")) == [(1,), (2,)]
    assert read_classes(str(tmp_path / "mine.txt")) == ["a dog", "Kitchen"]


def test_the_lists_that_come_with_the_project() -> None:
    wnids, coco = read_classes("imagenet1k"), read_classes("coco")
    assert (len(wnids), wnids[0], wnids == sorted(wnids)) == (1000, "n01440764", True)
    assert all(key in open_wordnet().called for key in wnids), "ImageNet's wnids are WordNet 3.0's"
    assert (len(coco), coco[10], coco[68]) == (80, "fire hydrant", "microwave")
    nearest = NearestRows(Vocabulary(dict.fromkeys(open_wordnet().called, 1)), 1.0)
    assert all(match(name, nearest).rows for name in coco)
