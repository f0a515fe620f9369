"""Jobs over captions: ``corekit data vocabulary`` and ``corekit data label``."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import find_fields
from corekit.data.jobs.base import Refuse, read_shard
from corekit.data.shards.members import RawSample, decode_sample
from corekit.files import write_text
from corekit.registry import register

from .versions import versions, warn_of_other_nltk
from .vocabulary import Vocabulary, choose, read_vocabulary

if TYPE_CHECKING:
    from .labels import NounLabels

TABLE = "vocabulary.tsv"
ROWS = "rows.npy"  # int32 [n], ascending


class _OfCaptions:
    """The mining of captions, which both jobs do."""

    def __init__(self, nouns: Literal["first_sense", "tagged"], compounds: bool, text: str) -> None:
        self.nouns, self.compounds, self.extensions = nouns, compounds, {"text": text.split(";")}
        self.decoders = find_fields(tuple(self.extensions))

    @cached_property
    def labels(self) -> "NounLabels":
        from .labels import NounLabels  # imports NLTK

        return NounLabels(self.nouns, self.compounds)

    def identity(self) -> dict[str, object]:
        """The code that finds nouns, and what of WordNet and NLTK is here."""
        from .labels import CODE
        from .wordnet import open_tagger, open_wordnet

        open_wordnet()
        if self.nouns == "tagged":
            open_tagger()
        labels = self.labels  # refuses what it does not know
        return {"nouns": [CODE, labels.nouns, labels.compounds], **versions()}

    def mine(self, samples: Iterator[RawSample], refuse: Refuse) -> Iterator[tuple[str, list[str]]]:
        """(key, synsets) of every sample whose caption can be read."""
        for raw in samples:
            try:
                text = str(decode_sample(raw, self.extensions, self.decoders)["text"])
                yield raw.key, self.labels(text)
            except BadSampleError as error:
                refuse(error)


@register("job", "vocabulary")
class CountNouns(_OfCaptions):
    """The synsets that captions name, counted and chosen: a row of the head a line.

    OUT/vocabulary.tsv has synset, lemma, gloss and count, and in its first line the versions of
    NLTK and WordNet. As in CatLIP (Mehta et al., 2024, section 3.1) those stay that occur in more
    captions than a threshold; frequent ones come first, ties by key. Beside it lie the counts of
    every shard.

    Args:
        threshold: V_tau; the paper's 500 suits millions of captions and more, not thousands.
        size: rows at most; CoreNet's DataComp vocabulary is cut to 24320.
        nouns: tagged: the first sense of words tagged as nouns (the paper); first_sense: of words
            whose first noun sense is called after them, which is what CoreNet's code does.
        compounds: also find nouns of several words, such as hot dog.
        text: the extensions that may hold a caption, separated by ``;``.
    """

    def __init__(self, threshold: int = 500, size: int | None = None,
                 nouns: Literal["first_sense", "tagged"] = "first_sense", compounds: bool = False,
                 text: str = "txt") -> None:
        super().__init__(nouns, compounds, text)
        self.threshold, self.size = threshold, size

    def process(self, samples: Iterator[RawSample],
                refuse: Refuse) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """The counts of one shard, a line each."""
        counts = Counter(key for _, keys in self.mine(samples, refuse) for key in keys)
        lines = [f"{key}\t{count}\n" for key, count in sorted(counts.items())]
        yield "counts", {"tsv": "".join(lines).encode()}

    def finish(self, shards: list[Path], out: Path) -> None:
        """Sum, choose and write the table."""
        total: Counter[str] = Counter()
        for shard in shards:
            for _, content in read_shard(shard):
                for line in content.decode().splitlines():
                    key, count = line.split("\t")
                    total[key] += int(count)
        write_text(out / TABLE, choose(total, self.threshold, self.size).table())


@register("job", "label")
class LabelCaptions(_OfCaptions):
    """What captions name, as rows of a vocabulary: one member a sample, rows.npy.

    It is int32, ascending, without repeats. The data set mined_labels finds the same rows while
    training. A caption that names nothing has no rows, and is kept.

    Args:
        vocabulary: a table that corekit data vocabulary wrote, or CoreNet's pickle, of which
            nothing is called.
        size: take its first rows only.
        nouns: tagged or first_sense, as for the vocabulary.
        compounds: also find nouns of several words, such as hot dog.
        text: the extensions that may hold a caption, separated by ``;``.
    """

    def __init__(self, vocabulary: str, size: int | None = None,
                 nouns: Literal["first_sense", "tagged"] = "first_sense", compounds: bool = False,
                 text: str = "txt") -> None:
        super().__init__(nouns, compounds, text)
        self.path, self.size = vocabulary, size

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Read when it is first used."""
        vocabulary = read_vocabulary(self.path, self.size)
        vocabulary.check()
        warn_of_other_nltk(f"vocabulary {self.path}", vocabulary.versions.get("nltk"))
        return vocabulary

    def identity(self) -> dict[str, object]:
        """With the vocabulary, whatever its file is called."""
        return {**super().identity(), "vocabulary": self.vocabulary.fingerprint}

    def process(self, samples: Iterator[RawSample],
                refuse: Refuse) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """The rows of every sample of one shard."""
        for key, synsets in self.mine(samples, refuse):
            yield key, {ROWS: npy(self.vocabulary.rows(synsets))}


def npy(rows: NDArray[np.int32]) -> bytes:
    """An array as a .npy file."""
    content = io.BytesIO()
    np.save(content, rows)
    return content.getvalue()
