"""CatLIP's transfer initialisation: classes start from the rows of the synsets they name."""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.checkpoint.initial.new_head import Match
from corekit.errors import CorekitError
from corekit.recipes.schema import RunConfig
from corekit.registry import register

from .vocabulary import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from .wordnet import WordNet

CLASSES = Path(__file__).parent / "classes"  # lists of classes that come with the project
LONGEST_NAME = 1000
_WNID = re.compile(r"n\d{8}")


@register("head", "synsets")
class SynsetRows:
    """Finds rows of a head over WordNet synsets by the names of another task's classes.

    CatLIP: Mehta et al., 2024, section 4, Transfer Init.

    A class that is called as ImageNet calls it (``n02084071``) is that synset. Any other name is,
    in this order, one noun, in its first sense; or the nouns in it, those of several words first
    (``labels.NounLabels``). The first of these with a synset in the vocabulary counts, or else the
    first with a similar one. A synset's row is that of the vocabulary's most similar one by
    WordNet's path similarity, 1 / (1 + steps), if that is at least ``similarity``; of equally
    similar ones the most frequent. A class of several synsets gets the average of their rows
    (*restaurant kitchen*), one without any stays random (*archaeological excavation*).

    Underscores and slashes part words, and a letter between slashes, as in Places365's
    ``/a/airfield``, is none. Commas part names for the same class, as in *tench, Tinca tinca*.

    Args:
        vocabulary: what the rows of the old head stand for: a table that ``corekit data
            vocabulary`` wrote, or CoreNet's pickle. None: the one of the weights' own recipe.
        size: take its first rows only.
        similarity: alpha, above 0 and up to 1: at 1 only the synset itself counts, at 0.5 its
            parents and children too. What the paper takes is not known here.
        classes: a file with a class a line, in the order of labels; or a list that comes with the
            project, ``imagenet1k`` (wnids) or ``coco`` (80). None: the data set's class names.
    """

    def __init__(self, vocabulary: str | None = None, size: int | None = None,
                 similarity: float = 0.5, classes: str | None = None) -> None:
        if not 0 < similarity <= 1:
            raise CorekitError("head 'synsets' needs similarity above 0 and up to 1, not "
                               f"{similarity}")
        self.vocabulary, self.size = vocabulary, size
        self.similarity, self.classes = similarity, classes

    def __call__(self, class_names: Sequence[str], rows: int,
                 trained_as: RunConfig | None) -> list[Match]:
        """Match every class.

        Args:
            class_names: of the data set.
            rows: of the old head.
            trained_as: the recipe of the old weights; None where there is none.

        Raises:
            CorekitError: no names, no vocabulary of the head, or a synset not in WordNet.
        """
        names = list(class_names) if self.classes is None else read_classes(self.classes)
        if not names:
            raise CorekitError("init.head=synsets: the data set has no names of classes "
                               "(classnames.txt): give a file with one a line, "
                               "init.head_arguments.classes=FILE")
        path, size = self.vocabulary, self.size
        if path is None and trained_as is not None and trained_as.data.dataset is not None:
            dataset = trained_as.data.dataset.arguments
            path, size = dataset.get("vocabulary"), size or dataset.get("size")
        if path is None:
            raise CorekitError("init.head=synsets: the recipe beside init.path names no "
                               "vocabulary: say what the rows of its head stand for, "
                               "init.head_arguments.vocabulary=TABLE")
        table = read_vocabulary(path, size)
        if len(table) != rows:
            raise CorekitError(f"vocabulary {path} has {len(table):,} synsets, but the head in "
                               f"init.path has {rows:,} rows: give the vocabulary that it was "
                               "trained with, and init.head_arguments.size where that was cut")
        table.check()
        nearest = NearestRows(table, self.similarity)
        return [match(name, nearest) for name in names]


class NearestRows:
    """The most similar synset of a vocabulary, by path similarity.

    The shortest way between two nouns goes up to a common hypernym and down again. So each hypernym
    remembers the nearest of the vocabulary's synsets below it, once for all, and looking one up
    takes as long as walking up from it.
    """

    def __init__(self, vocabulary: Vocabulary, similarity: float) -> None:
        from .wordnet import open_wordnet

        self.vocabulary, self.wordnet = vocabulary, open_wordnet()
        self.reach = math.floor(1 / similarity - 1 + 1e-9)  # steps

    def __call__(self, key: str) -> tuple[int, float] | None:
        """(row, similarity) of a synset, or None; a CorekitError where WordNet lacks it."""
        self.wordnet.noun(key)
        if key in self.vocabulary.row:
            return self.vocabulary.row[key], 1.0
        if not self.reach:
            return None
        ups = hypernyms(self.wordnet, key, self.reach)
        ways = [(up + self._below[above][0], self._below[above][1])
                for above, up in ups.items() if above in self._below]
        steps, row = min(ways, default=(self.reach + 1, 0))
        return (row, 1 / (1 + steps)) if steps <= self.reach else None

    @cached_property
    def _below(self) -> dict[str, tuple[int, int]]:
        """Of every hypernym: steps down to the nearest synset of the vocabulary, and its row."""
        nearest: dict[str, tuple[int, int]] = {}
        for key, row in self.vocabulary.row.items():
            for above, steps in hypernyms(self.wordnet, key, self.reach).items():
                nearest[above] = min(nearest.get(above, (steps, row)), (steps, row))
        return nearest


def hypernyms(wordnet: "WordNet", key: str, reach: int) -> dict[str, int]:
    """A synset and what is above it, with the least number of steps up."""
    from .wordnet import key_of

    steps, edge = {key: 0}, [wordnet.noun(key)]
    for step in range(1, reach + 1):
        above = {key_of(upper): upper for synset in edge
                 for upper in (*synset.hypernyms(), *synset.instance_hypernyms())}
        edge = [upper for name, upper in above.items() if name not in steps]
        steps.update({key_of(upper): step for upper in edge})
    return steps


def match(name: str, nearest: NearestRows) -> Match:
    """Where the row of one class comes from."""
    best = None
    synsets = list(nearest.vocabulary.counts)
    for how, keys in synsets_of(name, nearest.wordnet):
        similar_rows = [row for row in map(nearest, keys) if row is not None]
        if not similar_rows:
            continue
        rows = tuple(dict.fromkeys(row for row, _ in similar_rows))
        row_names = ", ".join(nearest.wordnet.noun(synsets[row]).name() for row in rows)
        similarity = min(similarity for _, similarity in similar_rows)
        candidate = Match(name, rows, how, similarity, row_names)
        if candidate.similarity == 1:
            return candidate
        best = best or candidate
    return best or Match(name)


def synsets_of(name: str, wordnet: "WordNet") -> list[tuple[str, list[str]]]:
    """(how, synsets) that a class may be, the best first."""
    from .labels import NounLabels  # imports NLTK

    if _WNID.fullmatch(name):
        return [("wnid", [name])]
    names = [_words(part) for part in name.split(",")]
    senses = [sense for words in names
              if (sense := wordnet.first_sense(wordnet.lemma_of("_".join(words))))]
    nouns = [tuple(NounLabels("first_sense", compounds)(" ".join(words))) for words in names
             for compounds in (True, False)]
    return [*(("name", [key]) for key in senses),
            *(("words", list(keys)) for keys in dict.fromkeys(nouns) if keys)]


def read_classes(path: str) -> list[str]:
    """The classes in a file, or in a list of the project; a CorekitError where it is not read."""
    own = CLASSES / f"{path}.txt"
    file = own if own.is_file() else Path(path)
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        if any(len(name) > LONGEST_NAME for name in names):
            raise ValueError(f"a line of it has more than {LONGEST_NAME:,} characters")
        return names
    except (OSError, ValueError) as error:  # not UTF-8 among them
        lists = ", ".join(sorted(file.stem for file in CLASSES.glob("*.txt")))
        raise CorekitError(f"init.head_arguments.classes={path} cannot be read ({error}): give a "
                           f"file with a class a line, or one of {lists}") from None


def _words(name: str) -> list[str]:
    words = [word for word in re.split(r"[\s_/]+", name.lower()) if word]
    return [word for word in words if len(word) > 1] if "/" in name else words
