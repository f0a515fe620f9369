"""CIDEr of captions, in the form CIDEr-D that everybody computes (Vedantam et al. 2015)."""

import math
from collections import Counter
from collections.abc import Sequence

from corekit.evaluation.metrics.generation.caption_words import MOST, Ngram, ngrams

SPREAD = 6.0  # of the difference of lengths, in words
Weights = dict[Ngram, float]


def cider(captions: Sequence[list[str]], references: Sequence[Sequence[list[str]]]) -> list[float]:
    """The score of each picture's caption, 0 to 10, from words of captions.

    An n-gram weighs its count times log(pictures / pictures that have it in a reference), so that
    scores depend on the whole set; of a single picture they are 0. For each n of 1 to 4 the cosine
    of both weights is taken, with the caption's weights clipped at the reference's, and lowered
    where lengths differ. The score is ten times the mean over n and references.
    """
    counts = [[ngrams(words) for words in of_picture] for of_picture in references]
    pictures = Counter(ngram for of_picture in counts for ngram in set().union(*of_picture))
    rarity = {ngram: math.log(len(references)) - math.log(number)
              for ngram, number in pictures.items()}
    unseen = math.log(max(1, len(references)))
    return [_score(_Document(ngrams(words), rarity, unseen),
                   [_Document(each, rarity, unseen) for each in of_picture])
            for words, of_picture in zip(captions, counts)]


class _Document:
    """The weights of a caption's n-grams, the norm of those of each n, and its length."""

    def __init__(self, counts: Counter[Ngram], rarity: Weights, unseen: float) -> None:
        self.weights = {ngram: count * rarity.get(ngram, unseen)
                        for ngram, count in counts.items()}
        self.norms = [math.sqrt(sum(weight**2 for ngram, weight in self.weights.items()
                                    if len(ngram) == n)) for n in range(1, MOST + 1)]
        self.length = sum(count for ngram, count in counts.items() if len(ngram) == 1)


def _score(caption: _Document, references: Sequence[_Document]) -> float:
    return 10 * sum(_similarity(caption, each) for each in references) / len(references)


def _similarity(caption: _Document, reference: _Document) -> float:
    products = [0.0] * MOST
    for ngram, weight in caption.weights.items():
        other = reference.weights.get(ngram, 0.0)
        products[len(ngram) - 1] += min(weight, other) * other
    cosines = [product / (norm * other) for product, norm, other
               in zip(products, caption.norms, reference.norms) if norm and other]
    difference = caption.length - reference.length
    return sum(cosines) / MOST * math.exp(-difference**2 / (2 * SPREAD**2))
