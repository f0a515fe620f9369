"""Figures of answered questions and of captions, by the name of a metric."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from corekit.evaluation.metrics.generation.anls import anls
from corekit.evaluation.metrics.generation.bleu import bleu
from corekit.evaluation.metrics.generation.caption_words import caption_words
from corekit.evaluation.metrics.generation.cider import cider
from corekit.evaluation.metrics.generation.mme import is_right, mme_estimates
from corekit.evaluation.metrics.generation.rouge import rouge_l
from corekit.evaluation.metrics.generation.short_answers import (
    choice,
    exact_match,
    first_letter,
    relaxed_accuracy,
)
from corekit.evaluation.metrics.generation.vqa import normalized_vqa_accuracy, vqa_accuracy
from corekit.evaluation.metrics.uncertainty import Estimate, Estimates, mean_of


class Answered(NamedTuple):
    """A question that was answered."""

    answer: str
    right: Sequence[str]  # at least one
    category: str  # '' where there are none
    question_id: str  # MME's two questions about a picture share it


# metric -> what its figure is called, and the score of an answer among right ones
SCORES: dict[str, tuple[str, Callable[[str, Sequence[str]], float]]] = {
    "vqa": ("vqa_accuracy", vqa_accuracy),
    "vqa_normalized": ("vqa_accuracy", normalized_vqa_accuracy),
    "anls": ("anls", anls),
    "relaxed": ("relaxed_accuracy", relaxed_accuracy),
    "exact": ("exact_match", exact_match),
    "choice": ("accuracy", choice),
    "first_letter": ("accuracy", first_letter),
}


def question_estimates(metric: str, answered: Sequence[Answered]) -> tuple[Estimates, Estimates]:
    """The figures of a metric, and that of each category: ``mme`` has two, others one."""
    if metric == "mme":
        return mme_estimates((each.category, each.question_id, is_right(each.answer, each.right))
                             for each in answered)
    name, score = SCORES[metric]
    scores = np.array([score(each.answer, each.right) for each in answered])
    category = np.array([each.category for each in answered])
    names = sorted({*category.tolist()} - {""})
    return {name: mean_of(scores)}, {each: mean_of(scores, category == each) for each in names}


def caption_estimates(captions: Sequence[str],
                      references: Sequence[Sequence[str]]) -> Estimates:
    """``cider``, ``bleu1`` to ``bleu4`` and ``rouge_l`` of pictures' captions.

    CIDEr is the mean of scores of 0 to 10, which tables give times 100. Its standard error takes
    the weights of n-grams as given; BLEU, which is of the set as a whole, has none.
    """
    words = [caption_words(each) for each in captions]
    right = [[caption_words(each) for each in of_picture] for of_picture in references]
    of_set = {f"bleu{n}": Estimate(value, len(words)) for n, value in enumerate(bleu(words, right),
                                                                                1)}
    common = [rouge_l(own, of_picture) for own, of_picture in zip(words, right)]
    return {"cider": mean_of(cider(words, right)), **of_set, "rouge_l": mean_of(common)}
