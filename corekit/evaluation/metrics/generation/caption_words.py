"""Words of captions as figures count them: Penn Treebank tokens without punctuation.

They are those of Stanford's tokenizer in Java, with which published figures are made, but for about
one sentence in a thousand. METEOR and SPICE, Java programs too, are left out of corekit's figures.
"""

import re
from collections import Counter

from nltk.tokenize import TreebankWordTokenizer

MOST = 4  # words of the longest n-grams
PUNCTUATION = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
ABBREVIATIONS = ("ave", "blvd", "co", "corp", "dr", "etc", "fig", "ft", "gen", "inc", "jr", "lt",
                 "ltd", "mr", "mrs", "ms", "mt", "no", "prof", "rd", "sr", "st", "vs", "jan", "feb",
                 "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec")
# quotation marks and dashes that a keyboard has not
PLAIN_SIGNS = str.maketrans({"\u2018": "`", "\u2019": "'", "\u201c": '"', "\u201d": '"',
                             "\u2013": "--", "\u2014": "--"})
STOPPED_WORD = re.compile(r"(\S*[^\s.])\.(?=[\"')]*(\s|$))")
# a quotation mark before a word that does not begin with an apostrophe itself
OPENING_QUOTE = re.compile(
    r"(?<![^\s(\"])(`|'(?!(?:em|n|s|til|tis|twas|cause|\d\ds?)\b))(?=\w)", re.IGNORECASE)
TOKENIZER = TreebankWordTokenizer()

Ngram = tuple[str, ...]


def caption_words(caption: str) -> list[str]:
    """The words of a caption, in lower case."""
    text = STOPPED_WORD.sub(_stop_apart, caption.translate(PLAIN_SIGNS).rstrip())
    text = OPENING_QUOTE.sub(r"\1 ", text)
    tokens = TOKENIZER.tokenize(text.lower(), convert_parentheses=True)
    return [token.lower() for token in tokens if token not in PUNCTUATION]


def ngrams(words: list[str]) -> Counter[Ngram]:
    """How often each sequence of 1 to 4 words occurs."""
    return Counter(tuple(words[first:first + length]) for length in range(1, MOST + 1)
                   for first in range(len(words) - length + 1))


def _stop_apart(match: re.Match[str]) -> str:
    """The word with its full stop apart, which an abbreviation keeps.

    NLTK takes the last full stop of a text for the end of a sentence, so there is one more then.
    """
    word = match[1].lstrip("\"'`(")
    is_initial = len(word) == 1 and word.isupper()
    if is_initial or "." in word or word.lower() in ABBREVIATIONS:
        return match[0] if match[2] else f"{match[0]} ."
    return f"{match[1]} ."
