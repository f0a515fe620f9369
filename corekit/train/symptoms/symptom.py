"""A sign that a run cannot learn, as it is told."""

from typing import NamedTuple


class Symptom(NamedTuple):
    """What is seen, what it probably means, and what to do."""

    name: str  # as records call it; each is told once a run
    sentence: str
    explains: bool = True  # a loss that stands where guessing is
