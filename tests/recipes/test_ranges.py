"""Numbers out of range are refused while composing: the key, the range, and what null means."""

from dataclasses import fields, is_dataclass
from typing import get_args, get_origin, get_type_hints

import pytest

from corekit import CorekitError
from corekit.recipes.compose import compose
from corekit.recipes.ranges import Range
from corekit.recipes.schema import RunConfig

FREE = {"seed"}  # any whole number


@pytest.mark.parametrize(("word", "sentence"), [
    ("engine.steps=0", "engine.steps=0 must be at least 1"),
    ("checkpoint.every_steps=0", "at least 1; checkpoint.every_steps=null: never"),
    ("log.every_steps=-1", "log.every_steps=-1 must be at least 1"),
    ("data.workers=-1", "data.workers=-1 must be at least 0"),
    ("data.window=0", "data.window=0 must be at least 1"),
    ("data.max_bad_fraction=1.5", "must be between 0 and 1"),
    ("data.max_bad_fraction=nan", "must be between 0 and 1"),
    ("engine.grad_clip=0", "must be greater than 0"),
    ("engine.ema_decay=2", "engine.ema_decay=null: without averaging"),
    ("data.preprocess.size=0", "data.preprocess.size=0 must be at least 1"),
    ("evaluators.zero_shot.every_steps=0", "evaluators.zero_shot.every_steps=0 must be at least 1"),
])
def test_numbers_out_of_range_are_refused(word: str, sentence: str) -> None:
    with pytest.raises(CorekitError, match=sentence.replace("(", r"\(")):
        compose("+recipe=mobileclip/quickstart", word)


def test_every_number_of_a_closed_section_has_a_range() -> None:
    def check(cls: type, prefix: str = "") -> None:
        hints = get_type_hints(cls, include_extras=True)
        for item in fields(cls):
            hint, key = hints[item.name], f"{prefix}{item.name}"
            if is_dataclass(hint) and isinstance(hint, type):
                check(hint, f"{key}.")
            elif hasattr(hint, "__metadata__"):
                assert isinstance(get_args(hint)[1], Range)
            elif get_origin(hint) is not list and {int, float} & {hint, *get_args(hint)}:
                assert key in FREE, key

    check(RunConfig)
