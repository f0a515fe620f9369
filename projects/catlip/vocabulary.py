"""Vocabularies: which synsets a head tells apart, in the order of its rows."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corekit.errors import CorekitError

from .pickled_counts import read_pickled_counts
from .versions import versions

VOCABULARIES = Path(__file__).parent / "vocabularies"  # tables that come with the project
COLUMNS = ("synset", "lemma", "gloss", "count")
_VERSION = re.compile(r"(\w+) (\S+)")  # a title after the columns: what the table was made with
_KEY = re.compile(r"n(\d{1,8})")


@dataclass(frozen=True)
class Vocabulary:
    """Synsets as keys (``n02084071``), in the order of the head's rows, with their counts."""

    counts: Mapping[str, int]
    versions: Mapping[str, str] = field(default_factory=dict)  # it was made with; older ones: none

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def row(self) -> dict[str, int]:
        """The row of each key."""
        return {key: row for row, key in enumerate(self.counts)}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the keys and their order."""
        return hashlib.sha256("\n".join(self.counts).encode()).hexdigest()

    def rows(self, keys: Iterable[str]) -> NDArray[np.int32]:
        """int32 [n]: the rows of those keys that have one, ascending."""
        return np.array(sorted(self.row[key] for key in keys if key in self.row), dtype=np.int32)

    def check(self) -> None:
        """A CorekitError where WordNet lacks some synsets: no caption would ever name them."""
        from .wordnet import open_wordnet

        unknown = [key for key in self.counts if key not in open_wordnet().called]
        if unknown:
            raise CorekitError(f"{len(unknown):,} of the vocabulary's {len(self):,} synsets are "
                               f"not in this WordNet ({open_wordnet().root}), such as "
                               f"{unknown[0]}: it was made with another version")

    def table(self) -> str:
        """A line for each row: synset, lemma, gloss and count, by tabs, under a line of titles.

        After the titles stand the versions of what found the nouns.
        """
        from .wordnet import open_wordnet

        wordnet = open_wordnet()
        lines = [(*COLUMNS, *(f"{name} {version}" for name, version in versions().items()))]
        for key, count in self.counts.items():
            synset = wordnet.noun(key)
            lines.append((key, synset.name().rpartition(".n.")[0], synset.definition(), str(count)))
        return "".join("\t".join(line) + "\n" for line in lines)


def normal_key(key: str) -> str | None:
    """A noun's key with all its digits, as ImageNet has them, not CoreNet; None for other words."""
    match = _KEY.fullmatch(key)
    return f"n{int(match[1]):08d}" if match else None


def choose(counts: Mapping[str, int], threshold: int = 500, size: int | None = None) -> Vocabulary:
    """The most frequent synsets: more than ``threshold`` times (V_tau), at most ``size``.

    Ties are ordered by key.

    Raises:
        CorekitError: none does, or an argument out of range.
    """
    if threshold < 0 or (size is not None and size < 1):
        raise CorekitError(f"threshold must be 0 or more and size at least 1, not {threshold} and "
                           f"{size}")
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = {key: count for key, count in ordered[:size] if count > threshold}
    if not frequent:
        most = (f"the most frequent one {ordered[0][1]:,} times" if ordered
                else "there is none at all")
        raise CorekitError(f"no synset occurs more than {threshold:,} times ({most}): give a lower "
                           "threshold=, and another folder")
    return Vocabulary(frequent)


def read_vocabulary(path: str | Path, size: int | None = None) -> Vocabulary:
    """The first ``size`` rows of a table of ``corekit data vocabulary``, or of CoreNet's pickle.

    ``openmoji``, of drawn scenes, comes with the project. CoreNet's is a dict from keys without
    leading zeros to counts, in the order of rows. Nothing that a pickle names is called.

    Raises:
        CorekitError: the file is neither, or holds fewer rows, or a synset twice.
    """
    own = VOCABULARIES / f"{path}.tsv"
    try:
        content = (own if own.is_file() else Path(path)).read_bytes()
    except OSError as error:
        raise CorekitError(f"vocabulary {path} cannot be read: {error.strerror or error}") from None
    is_table = content.startswith(b"\t".join(column.encode() for column in COLUMNS))
    counts: dict[str, int] = {}
    entries = _lines(content, path) if is_table else read_pickled_counts(content, path)
    for number, (word, count) in enumerate(entries, 1):
        key = normal_key(word)
        if key is None:
            raise CorekitError(f"vocabulary {path}: entry {number} is {word[:80]!r}, and should be "
                               "a noun's synset such as n02084071")
        if key in counts:
            raise CorekitError(f"vocabulary {path}: entry {number} is {key} again")
        counts[key] = count
    if not counts or (size is not None and not 0 < size <= len(counts)):
        raise CorekitError(f"vocabulary {path} has {len(counts):,} synsets" +
                           (f", not {size:,}" if counts else ""))
    return Vocabulary(dict(list(counts.items())[:size]), _versions(content) if is_table else {})


def _versions(content: bytes) -> dict[str, str]:
    titles = content.split(b"\n", 1)[0].decode("utf-8", "replace").split("\t")
    return {match[1]: match[2] for title in titles if (match := _VERSION.fullmatch(title.strip()))}


def _lines(content: bytes, path: str | Path) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines()[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or not cells[3].isdecimal() or len(cells[3]) > 18:
            raise CorekitError(f"vocabulary {path}: line {number} is not {', '.join(COLUMNS)}, "
                               "separated by tabs")
        yield cells[0], int(cells[3])
