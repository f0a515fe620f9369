"""ANLS, the edit similarity of answers about documents (Biten et al. 2019)."""

from collections.abc import Sequence

LEAST = 0.5  # similarity, below which an answer counts as another one


def anls(answer: str, right: Sequence[str]) -> float:
    """1 - edits / length, for the right answer that gives the most; 0 below 0.5.

    Edits are counted in lower case and with single spaces. The length is the longer string's, as it
    stands in capitals: that is what the benchmark's own scorer does.
    """
    best = max(_similarity(answer, each) for each in right)
    return best if best >= LEAST else 0.0


def _similarity(answer: str, right: str) -> float:
    length = max(len(answer.upper()), len(right.upper()))
    return 1 - edits(_plain(answer), _plain(right)) / length if length else 1.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def edits(first: str, second: str) -> int:
    """The least number of inserted, deleted and replaced characters (Levenshtein)."""
    above = list(range(len(second) + 1))
    for number, character in enumerate(first, 1):
        row = [number]
        for place, other in enumerate(second):
            row.append(min(above[place] + (character != other), above[place + 1] + 1, row[-1] + 1))
        above = row
    return above[-1]
