"""CatLIP's labels: the nouns of a caption as WordNet synsets (Mehta et al., 2024, equation 1)."""

import re
import urllib.parse
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal, TypeVar

import ftfy
from nltk.tokenize.destructive import NLTKWordTokenizer

from corekit.data.datasets.base import BadSampleError
from corekit.errors import CorekitError

from .wordnet import open_tagger, open_wordnet

CODE = 1  # raise it with every change that finds other labels
LONGEST = 10_000  # characters of a caption; longer ones are web pages, and some take long to clean
_REMEMBERED = 200_000  # words, some 40 MB
_TAG = re.compile(r"<.*?>")
_TOKENIZER = NLTKWordTokenizer()
_CONTRACTIONS = (*_TOKENIZER.CONTRACTIONS2, *_TOKENIZER.CONTRACTIONS3)  # cannot, gonna: two tokens

T = TypeVar("T")


class NounLabels:
    """Finds the synsets that a caption names, as keys (``n02084071``) in order of first mention.

    ``first_sense`` is what CoreNet's code does: of every token, whatever part of speech it is, the
    lemma (as a noun) whose first noun sense exists and is called after it. ``tagged`` is what the
    paper describes: the first sense of every token that is tagged as a noun. So *photo* is nothing
    to the first, for its synset is called photograph, and *black*, which is a noun too, is nothing
    to the second in *a black dog*.

    Captions are cleaned as CoreNet cleans them and cut into NLTK's Treebank tokens, a stretch
    between spaces at a time: a full stop at its end is one everywhere. CoreNet asks NLTK's punkt
    where sentences end, which needs punkt's data. That differs after abbreviations such as *fig.*,
    and where no space follows: of *violence.(AP* CoreNet takes *violence*, and here the full stop
    stays at the word, which then names nothing. Labels depend on NLTK's version (``versions.py``).

    Args:
        nouns: which of the two.
        compounds: also find nouns of several words (*hot dog*), in place of those of their words.

    Raises:
        CorekitError: when first used: no WordNet here, or for ``tagged`` no tagger.
    """

    def __init__(self, nouns: Literal["first_sense", "tagged"] = "first_sense",
                 compounds: bool = False) -> None:
        if nouns not in ("first_sense", "tagged"):
            raise CorekitError(f"nouns must be first_sense or tagged, not '{nouns}'")
        self.nouns, self.compounds = nouns, compounds
        self._forget()

    def __getstate__(self) -> dict[str, object]:
        """What another process needs: it remembers words of its own."""
        return {"nouns": self.nouns, "compounds": self.compounds}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, caption: str) -> list[str]:
        """Each synset once.

        Raises:
            BadSampleError: of kind ``long_text``: more than ``LONGEST`` characters.
            CorekitError: the caption is no string.
        """
        words = clean(caption).split()
        if self.nouns == "tagged" or self.compounds:
            return list(dict.fromkeys(self._in_context(words)))
        synsets: dict[str, None] = {}
        cache = self._synsets
        for word in words:
            keys = cache.get(word)
            if keys is None:
                keys = self._remember(cache, word, _keys_of)
            for key in keys:
                synsets[key] = None
        return list(synsets)

    def _in_context(self, words: Sequence[str]) -> list[str]:
        tokens_of_words = (self._tokens.get(word) or self._remember(self._tokens, word, _tokens_of)
                           for word in words)
        tokens = [token for parts in tokens_of_words for token in parts]
        is_noun = [True] * len(tokens)
        if self.nouns == "tagged":
            is_noun = [tag.startswith("NN") for _, tag in open_tagger().tag(tokens)]
        synsets, start = [], 0
        while start < len(tokens):
            # words of the longest noun in WordNet that begins with this one
            longest = _compounds().get(tokens[start], 1) if self.compounds else 1
            for end in range(min(len(tokens), start + longest), start, -1):
                key = self._key("_".join(tokens[start:end])) if is_noun[end - 1] else None
                if key:
                    synsets.append(key)
                    break
            start = end
        return synsets

    def _key(self, words: str) -> str:
        """Of one noun, its words joined by ``_``; empty where it is none."""
        key = self._nouns.get(words)
        if key is None:
            by_name = _joined if "_" in words else str
            form = by_name if self.nouns == "first_sense" else None
            key = self._remember(self._nouns, words, partial(_key, form=form))
        return key

    def _remember(self, cache: dict[str, T], word: str, find: Callable[[str], T]) -> T:
        if len(cache) >= _REMEMBERED:
            cache.clear()
        cache[word] = value = find(word)
        return value

    def _forget(self) -> None:
        self._synsets: dict[str, tuple[str, ...]] = {}  # a stretch between spaces -> keys
        self._tokens: dict[str, tuple[str, ...]] = {}  # a stretch between spaces -> tokens
        self._nouns: dict[str, str] = {}  # words joined by _ -> key


def clean(caption: str) -> str:
    """A caption in lower case, without URL escapes, tags and broken Unicode, in CoreNet's order."""
    if not isinstance(caption, str):
        raise CorekitError(f"a caption must be a string, not {type(caption).__name__}; bytes are "
                           "decoded by .decode('utf-8')")
    if len(caption) > LONGEST:
        raise BadSampleError("long_text", f"a caption of {len(caption):,} characters; up to "
                                          f"{LONGEST:,} are looked at")
    if (caption.isascii() and caption.isprintable() and "%" not in caption and "+" not in caption
            and "<" not in caption and "&" not in caption):
        return caption.lower()  # the rest would change nothing but spaces
    text = _TAG.sub("", urllib.parse.unquote(caption).replace("+", " "))
    return ftfy.fix_text(re.sub(" +", " ", text.strip("\n"))).strip().lower()


def _tokens_of(word: str) -> tuple[str, ...]:
    """NLTK's tokens of a stretch between spaces; most are a word of letters, which stays whole."""
    stem, end = (word[:-1], word[-1:]) if word.endswith((",", ".")) else (word, "")
    if stem.isascii() and stem.isalpha() and not any(pattern.search(f" {stem} ")
                                                     for pattern in _CONTRACTIONS):
        return (stem, end) if end else (stem,)
    return tuple(_TOKENIZER.tokenize(word))


def _keys_of(word: str) -> tuple[str, ...]:
    return tuple(key for token in _tokens_of(word) if (key := _key(token, str)))


def _key(words: str, form: Callable[[str], str] | None) -> str:
    """The first sense, where its name and the lemma have the same form; None: whatever its name."""
    wordnet = open_wordnet()
    lemma = wordnet.lemma_of(words)
    key = wordnet.first_sense(lemma)
    if key is None or (form is not None and form(wordnet.called[key]) != form(lemma)):
        return ""
    return key


def _joined(name: str) -> str:
    """A name in one word: WordNet calls the hot dog hotdog."""
    return name.replace("_", "").replace("-", "")


@lru_cache(maxsize=1)
def _compounds() -> dict[str, int]:
    """First word -> the number of words of WordNet's longest noun that begins with it."""
    longest: dict[str, int] = {}
    for lemma in open_wordnet().all_lemma_names(pos="n"):
        words = lemma.split("_")
        if len(words) > longest.get(words[0], 1):
            longest[words[0]] = len(words)
    return longest
