"""VQA accuracy: how many of several people, mostly ten, give an answer (Antol et al. 2015)."""

import re
from collections.abc import Sequence

from corekit.evaluation.metrics.generation.contractions import CONTRACTIONS

SIGNS = ';/[]"{}()=+\\_-><@`,?!'
COMMA_IN_NUMBER = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")
MOST_FULL_STOPS = 32  # that are deleted: the official scorer passes re.UNICODE as the count
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4",
           "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
ARTICLES = ("a", "an", "the")


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """The official scorer's accuracy, as of VQAv2.

    Of people's answers it changes nothing but punctuation, and not even that where all of them are
    the same string.
    """
    if len(set(people)) > 1:
        people = [without_punctuation(each) for each in people]
    return _leave_one_out(_in_standard_words(_one_line(answer)), people)


def normalized_vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """The accuracy with all answers normalised alike, as MMF has it for TextVQA and OKVQA."""
    return _leave_one_out(_normalized(answer), [_normalized(each) for each in people])


def without_punctuation(text: str) -> str:
    """The text without signs and full stops.

    A sign is deleted everywhere if there is a space beside one of its kind, or if a comma stands
    between digits; else it becomes a space. Full stops before a digit stay.
    """
    has_comma_in_number = COMMA_IN_NUMBER.search(text) is not None
    result = text
    for sign in SIGNS:
        is_deleted = has_comma_in_number or f"{sign} " in text or f" {sign}" in text
        result = result.replace(sign, "" if is_deleted else " ")
    return FULL_STOP.sub("", result, count=MOST_FULL_STOPS)


def _in_standard_words(text: str) -> str:
    """In lower case, without punctuation and articles; numbers as digits, contractions whole."""
    words = [NUMBERS.get(word, word) for word in without_punctuation(text).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _normalized(text: str) -> str:
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _in_standard_words(_one_line(text.strip()))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _leave_one_out(answer: str, people: Sequence[str]) -> float:
    """The mean over people of min(1, matches among the others / 3)."""
    is_equal = [each == answer for each in people]
    matches = sum(is_equal)
    return sum(min(3, matches - own) for own in is_equal) / (3 * len(people))
