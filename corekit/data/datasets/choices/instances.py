"""Choices among candidates: pictures and sentences of which some belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corekit.data.datasets.base import Source


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

    instances: Sequence[Instance]
