"""A change of structure moves no loss: 50 steps of six tiny recipes, bit by bit."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import NOT_TESTED
from tests.golden.pinned import describe_pinned, differences, same_kind
from tests.golden.recipes import RECIPES
from tests.golden.record import Steps, golden_file, measure

RECORD = "`python -m tests.golden.record`"
FIRST, ROUNDING = 2, 1e-3  # steps in which another kind of CPU is at most so far off: it grows
Trained = tuple[dict[str, Any], dict[str, Steps], dict[str, Any]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """This machine, what it measured, and what is kept for its torch."""
    machine = describe_pinned()
    path = golden_file(machine["torch_minor"])
    if not path.is_file():
        pytest.skip(f"{NOT_TESTED}golden losses of this torch: there is no {path.name}; "
                    f"at a commit whose losses are right, {RECORD} writes it")
    recorded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not same_kind(machine, recorded["machine"]):
        pytest.skip(f"{NOT_TESTED}golden losses of this kind of CPU: "
                    f"{differences(machine, recorded['machine'])}; {RECORD} would write "
                    f"{path.name} for this one")
    return machine, measure(tmp_path_factory.mktemp("golden"))[1], recorded


@pytest.mark.parametrize("recipe", RECIPES)
def test_losses_are_the_same_to_the_bit(recipe: str, trained: Trained) -> None:
    machine, measured, recorded = trained
    wrong = first_difference(recorded["recipes"][recipe], measured[recipe])
    if wrong is None:
        return
    apart = differences(machine, recorded["machine"])
    message = f"recipe {recipe}, {wrong}. Differences to where they were recorded: {apart}"
    other_cpu = machine["cpu"] != recorded["machine"]["cpu"]
    if other_cpu and close(recorded["recipes"][recipe], measured[recipe]):
        pytest.skip(f"{NOT_TESTED}a CPU that rounds as the recorded one: {message}")
    pytest.fail(f"{message}. Where the losses are meant to move, {RECORD} keeps the new ones: "
                "say in the commit why", pytrace=False)


def first_difference(expected: Steps, got: Steps) -> str | None:
    """Where two runs part, in words."""
    if len(expected) != len(got):
        return f"{len(got)} steps in place of {len(expected)}"
    for step, (old, new) in enumerate(zip(expected, got), 1):
        for name, value in old.items():
            if new.get(name) != value:
                return f"step {step}: {name} is {new.get(name)!r}, expected {value!r}, " \
                       f"{relative(value, new.get(name)):.2e} of it away"
    return None


def relative(expected: float, got: float | None) -> float:
    return abs(got - expected) / max(abs(expected), 1e-30) if got is not None else float("inf")


def close(expected: Steps, got: Steps) -> bool:
    """Whether the first steps differ by no more than rounding."""
    def agree(old: Mapping[str, float], new: Mapping[str, float]) -> bool:
        return all(relative(value, new.get(name)) < ROUNDING for name, value in old.items())

    return all(agree(old, new) for old, new in zip(expected[:FIRST], got[:FIRST]))


def test_a_difference_is_said_with_step_and_size() -> None:
    expected, got = [{"loss": 2.0}] * 3, [{"loss": 2.0}, {"loss": 2.0 + 2e-7}, {"loss": 3.0}]
    message = first_difference(expected, got)
    assert message == "step 2: loss is 2.0000002, expected 2.0, 1.00e-07 of it away"
    assert first_difference(expected, expected) is None
