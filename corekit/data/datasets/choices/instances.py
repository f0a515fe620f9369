"""Choices among candidates: pictures and sentences of which some belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corekit.data.datasets.base import BadSampleError, Source


@dataclass(frozen=True)
class Instance:
    """One choice.

    Attributes:
        pictures: the candidate pictures, by their numbers in the data set.
        sentences: the candidate sentences, or the cue that pictures are chosen for.
        right: of several pictures and one cue, places of the right pictures among ``pictures``; of
            one picture, places of its right captions among ``sentences``; of as many pictures as
            sentences, the place of each picture's own sentence.
    """

    pictures: tuple[int, ...]
    sentences: tuple[str, ...]
    right: tuple[int, ...]


class InstanceSource(Source, Protocol):
    """A data set of pictures, each once, and of the choices among them."""

    @property
    def instances(self) -> Sequence[Instance]:
        """The choices."""
        ...

    def key(self, number: int) -> str:
        """The key of a picture, by its number."""
        ...


def check_instance(instance: Instance) -> None:
    """Raise a BadSampleError, with a kind and no message, where there is nothing to choose.

    Kinds: ``empty_caption``, ``no_choice`` (one candidate, or none is wrong), ``right`` (what is
    right is none of the candidates, or there is nothing right).
    """
    pictures, sentences, right = len(instance.pictures), len(instance.sentences), instance.right
    if not all(sentence.strip() for sentence in instance.sentences):
        raise BadSampleError("empty_caption", "")
    is_matching = pictures == sentences
    if min(pictures, sentences) < 1 or max(pictures, sentences) < 2 or not (
            is_matching or min(pictures, sentences) == 1):
        raise BadSampleError("no_choice", "")
    candidates = max(pictures, sentences)
    if not right or len(set(right)) < len(right) or not all(0 <= place < candidates
                                                            for place in right):
        raise BadSampleError("right", "")
    if is_matching != (len(right) == candidates):
        raise BadSampleError("right" if is_matching else "no_choice", "")
