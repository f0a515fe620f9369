"""Ranges of a recipe's numbers: they stand beside the types, as ``Annotated[int, COUNT]``."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args, get_type_hints

from corekit.errors import CorekitError
from corekit.recipes.origin import origin


class Range(NamedTuple):
    """The numbers that a key takes.

    Args:
        low: the least one.
        high: the largest one.
        above: whether ``low`` itself is left out.
        null: what ``null`` means, where the key takes it.
    """

    low: float
    high: float = math.inf
    above: bool = False
    null: str = "never"

    def holds(self, value: float) -> bool:
        """Whether the number lies in it; NaN lies nowhere."""
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        low = f"{'greater than' if self.above else 'at least'} {self.low:g}"
        return low if self.high == math.inf else f"between {self.low:g} and {self.high:g}"


COUNT = Range(1)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, above=True)
FRACTION = Range(0, 1)


def check_ranges(cls: type, recipe: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse numbers out of range in the closed sections of a recipe.

    Args:
        cls: the dataclass of the section.
        recipe: the section as plain values.
        prefix: of its keys.

    Raises:
        CorekitError: naming the key, where it was set, and the range.
    """
    for name, hint in get_type_hints(cls, include_extras=True).items():
        value, key = recipe.get(name), f"{prefix}{name}"
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
            check_ranges(hint, value, f"{key}.")
        for extra in get_args(hint)[1:] if hasattr(hint, "__metadata__") else ():
            if isinstance(extra, Range) and isinstance(value, (int, float)):
                check_range(key, value, extra, type(None) in get_args(get_args(hint)[0]))


def check_finite(key: str, value: object) -> None:
    """Refuse NaN and infinity in the arguments of an entry, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        raise CorekitError(f"{key}={value}{origin(key)} must be a finite number")
    if isinstance(value, Mapping):
        for name, item in value.items():
            check_finite(f"{key}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_finite(key, item)


def check_range(key: str, value: float, allowed: Range, takes_null: bool = False) -> None:
    """Refuse a number that is out of its range; a CorekitError says what the key takes."""
    if not allowed.holds(value):
        null = f"; {key}=null: {allowed.null}" if takes_null else ""
        raise CorekitError(f"{key}={value}{origin(key)} must be {allowed}{null}")
