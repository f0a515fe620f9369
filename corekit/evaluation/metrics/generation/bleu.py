"""BLEU of captions, of a whole set at once (Papineni et al. 2002)."""

import math
from collections import Counter
from collections.abc import Sequence

from corekit.evaluation.metrics.generation.caption_words import MOST, Ngram, ngrams

NOTHING, LITTLE = 1e-15, 1e-9  # which the reference program adds to both sides of a fraction


def bleu(captions: Sequence[list[str]], references: Sequence[Sequence[list[str]]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a set, from words of captions.

    Each picture is compared with all of its references, and in length with the closest one, of two
    equally close ones the shorter.
    """
    right, total = [0] * MOST, [0] * MOST
    length = closest = 0
    for words, of_picture in zip(captions, references):
        most: Counter[Ngram] = Counter()
        for each in of_picture:
            most |= ngrams(each)
        for ngram, count in (ngrams(words) & most).items():
            right[len(ngram) - 1] += count
        for n in range(MOST):
            total[n] += max(0, len(words) - n)
        length += len(words)
        closest += min((abs(len(each) - len(words)), len(each)) for each in of_picture)[1]
    ratio = (length + NOTHING) / (closest + LITTLE)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    precisions = [(hits + NOTHING) / (count + LITTLE) for hits, count in zip(right, total)]
    return [brevity * math.prod(precisions[:n]) ** (1 / n) for n in range(1, MOST + 1)]
