"""Scores of short answers: exact match, relaxed accuracy, and letters of choices."""

import string
from collections.abc import Sequence

TOLERANCE = 0.05  # of a number, relative to the right one
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 for a right answer, whatever its case and punctuation (GQA; Hudson and Manning 2019)."""
    return float(_bare(answer) in [_bare(each) for each in right])


def relaxed_accuracy(answer: str, right: Sequence[str]) -> float:
    """1 for a right answer, of numbers within 5 % (ChartQA; Masry et al. 2022, section 5.1).

    A percentage counts as its hundredth. Whatever else stands beside a number makes it a string.
    """
    return float(any(_is_near(answer, each) for each in right))


def choice(answer: str, right: Sequence[str]) -> float:
    """1 for the right letter, alone or before a full stop as a capital (ScienceQA)."""
    answer = answer.strip()
    letters = [each.strip().lower() for each in right]
    begins_with_letter = answer[:1].isupper() and answer[1:2] == "."
    return float(answer.lower() in letters
                 or (begins_with_letter and answer[0].lower() in letters))


def first_letter(answer: str, right: Sequence[str]) -> float:
    """1 where the answer begins with the right letter (SEED-Bench)."""
    return float(answer.strip()[:1].lower() in [each.strip().lower() for each in right])


def _bare(text: str) -> str:
    return text.lower().translate(WITHOUT_PUNCTUATION)


def _is_near(answer: str, right: str) -> bool:
    number, target = _number(answer), _number(right)
    if number is None or not target:
        return answer.lower() == right.lower()
    return abs(number - target) / abs(target) <= TOLERANCE


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
