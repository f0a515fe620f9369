"""WordNet's nouns, through NLTK, from where NLTK or a distribution keeps them.

A synset's key is ``n`` and its eight digits in WordNet 3.0, as ImageNet has it: ``n02084071``.
"""

import contextlib
import io
import os
import warnings
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO

import nltk
from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader, WordNetError
from nltk.data import FileSystemPathPointer, PathPointer
from nltk.tag.perceptron import PerceptronTagger

from corekit.errors import CorekitError
from corekit.registry import register

from .versions import WORDNET as VERSION

PLACES = ("/usr/share/wordnet",)  # where Debian's and Ubuntu's wordnet-base has it
TAGGER = "averaged_perceptron_tagger_eng"  # JSON; NLTK's older one was a pickle
FETCH = "`corekit data wordnet --yes` fetches it"
_FIELDS = 45  # lexicographers' files


class WordNet(WordNetCorpusReader):  # type: ignore[misc]
    """NLTK's reader without mappings between versions, which take seconds and 200 MB.

    ``synset``, ``synsets``, ``all_lemma_names``, path similarity and the like are NLTK's own.
    """

    def __init__(self, root: PathPointer) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The multilingual functions")
            super().__init__(root, None)

    def map_wn(self, version: str = "wordnet") -> None:
        """No mapping to other versions."""

    def open(self, file: str) -> IO[str]:
        """A file of the data base; lexicographers' names, which distributions lack, are made up."""
        try:
            stream: IO[str] = super().open(file)
            return stream
        except OSError:
            if file != "lexnames":
                raise
            return io.StringIO("".join(f"{number:02d}\tunnamed\t0\n" for number in range(_FIELDS)))

    @cached_property
    def called(self) -> dict[str, str]:
        """The first word of each noun synset in lower case, by key, which NLTK names it after.

        All are read at once: NLTK parses a synset in a tenth of a millisecond.
        """
        with self.root.join("data.noun").open() as file:
            lines = file.read().decode(self._ENCODING).splitlines()
        return {f"n{line[:8]}": line.split(" ", 5)[4].lower() for line in lines
                if not line.startswith(" ")}

    def lemma_of(self, word: str) -> str:
        """The shortest noun that a word in lower case may be a form of (NLTK); else the word."""
        forms: list[str] = self._morphy(word, "n")
        return min(forms, key=len) if forms else word

    def first_sense(self, lemma: str) -> str | None:
        """The key of a noun's most frequent sense; None where it is no noun."""
        offsets = self._lemma_pos_offset_map.get(lemma, {}).get("n")
        return f"n{offsets[0]:08d}" if offsets else None

    def noun(self, key: str) -> Synset:
        """The synset of a key; a CorekitError where this WordNet has none."""
        if key not in self.called:
            raise CorekitError(f"{key} is no noun of this WordNet ({self.root}, version {VERSION})")
        return self.synset_from_pos_and_offset("n", int(key[1:]))


def key_of(synset: Synset) -> str:
    """``n`` and eight digits."""
    return f"n{synset.offset():08d}"


@lru_cache(maxsize=1)
def open_wordnet() -> WordNet:
    """WordNet 3.0 from NLTK's folders, ``WNSEARCHDIR``, or a distribution's package.

    Raises:
        CorekitError: it is nowhere, not all there, or of another version.
    """
    root = _find()
    try:
        wordnet = WordNet(root)
        version = wordnet.get_version()
    except (OSError, ValueError, AssertionError, WordNetError) as error:
        raise CorekitError(f"WordNet in {root} cannot be read ({error}): remove it; {FETCH} "
                           "anew") from None
    if version != VERSION:
        raise CorekitError(f"WordNet in {root} is version {version}, whose synsets have other "
                           f"numbers than those of {VERSION}: {FETCH}, into NLTK's folder, which "
                           "is looked in first")
    return wordnet


def _find() -> PathPointer:
    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            return nltk.data.find(name)
        except LookupError:
            pass
    for place in (os.environ.get("WNSEARCHDIR"), *PLACES):
        if place and Path(place, "data.noun").is_file():
            if place not in nltk.data.path:
                nltk.data.path.append(place)  # NLTK opens nothing outside its paths
            return FileSystemPathPointer(place)
    raise CorekitError(f"WordNet is not on this machine: {FETCH} into NLTK's folder (10 MB; "
                       "NLTK_DATA names another one that is there), or, on Debian and Ubuntu, apt "
                       "install wordnet-base")


@lru_cache(maxsize=1)
def open_tagger() -> PerceptronTagger:
    """NLTK's tagger of English, whose weights are JSON; a CorekitError where it is missing."""
    try:
        return PerceptronTagger()
    except LookupError:
        raise CorekitError(f"NLTK's tagger {TAGGER} is not on this machine: {FETCH}, with WordNet, "
                           "into NLTK's folder; or choose nouns=first_sense, which needs "
                           "none") from None
    except (OSError, ValueError) as error:
        raise CorekitError(f"NLTK's tagger {TAGGER} cannot be read ({error}): remove it; {FETCH} "
                           "anew") from None


def fetch() -> None:
    """Download WordNet and the tagger into NLTK's folder, where this machine lacks them."""
    folder = nltk.downloader.Downloader().default_download_dir()
    for package, find in (("wordnet", open_wordnet), (TAGGER, open_tagger)):
        with contextlib.suppress(CorekitError):
            find()
            continue
        if not nltk.download(package, download_dir=folder, quiet=True):
            raise CorekitError(f"{package} could not be fetched from NLTK's server into {folder}: "
                               "where there is no network, copy the nltk_data folder of a machine "
                               "that has it, and name it in NLTK_DATA")


@register("command", "wordnet")
def wordnet(yes: bool = False) -> None:
    """Say where WordNet and NLTK's tagger of parts of speech are, or fetch them.

    Labels from captions need WordNet 3.0, some of them NLTK's tagger too. Both are looked for in
    NLTK's folders (NLTK_DATA among them), WordNet also in WNSEARCHDIR and Debian's wordnet-base.

    Args:
        yes: download what is missing, 12 MB, to NLTK's folder.
    """
    if yes:
        fetch()
    print(f"WordNet {VERSION}: {open_wordnet().root}")
    open_tagger()
    print(f"tagger: {TAGGER} is there")
