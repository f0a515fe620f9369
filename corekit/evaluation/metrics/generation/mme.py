"""MME's scores: accuracy, and how many pictures have both questions right (Fu et al. 2023)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from corekit.evaluation.metrics.uncertainty import NONE, Estimate, Estimates

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene",
              "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation",
             "code_reasoning")
WORDS = {"yes": "yes", "no": "no", "y": "yes", "n": "no"}
BEGINNING = 4  # characters in which a longer reply has to say yes or no


def yes_or_no(answer: str) -> str:
    """What a reply says: yes, no, or other."""
    answer = answer.lower().strip().replace(".", "")
    if answer in WORDS:
        return WORDS[answer]
    beginning = answer[:BEGINNING] if len(answer) > 1 else ""
    return next((word for word in ("yes", "no") if word in beginning), "other")


def is_right(answer: str, right: Sequence[str]) -> bool:
    """Whether a reply says what the right answer says."""
    return yes_or_no(answer) in [each.lower().strip().replace(".", "") for each in right]


def mme_estimates(answered: Iterable[tuple[str, str, bool]]) -> tuple[Estimates, Estimates]:
    """``mme_perception`` (at most 2,000) and ``mme_cognition`` (800), and each task's score (200).

    A task's score is the percentage of right replies plus that of pictures with both replies right;
    the two figures are sums over tasks. A picture with another number of replies than two counts
    nowhere.

    Args:
        answered: of each question its task, its picture, and whether the reply is right.
    """
    replies: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for task, picture, is_right_reply in answered:
        replies[task][picture].append(is_right_reply)
    of_tasks = {task: _task([sum(each) for each in pictures.values() if len(each) == 2])
                for task, pictures in replies.items()}
    figures = {"mme_perception": PERCEPTION, "mme_cognition": COGNITION}
    return ({name: _sum([of_tasks[task] for task in tasks if task in of_tasks])
             for name, tasks in figures.items()}, of_tasks)


def _task(right: Sequence[int]) -> Estimate:
    """A task's score, of how many of two replies are right for each picture."""
    if not right:
        return NONE
    scores = np.array([0.0, 50.0, 200.0])[list(right)]
    mean = math.fsum(scores) / len(scores)
    return Estimate(mean, len(scores), (scores - mean) / len(scores))


def _sum(tasks: Sequence[Estimate]) -> Estimate:
    values = [task.value for task in tasks if task.value is not None]
    influences = [task.influences for task in tasks if task.influences is not None]
    if not values:
        return NONE
    return Estimate(math.fsum(values), sum(task.samples for task in tasks),
                    np.concatenate(influences))
