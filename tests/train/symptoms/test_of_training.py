"""What the figures of training say: of runs that learn nothing, and of those that begin slowly."""

import math
import random

import pytest

from corekit.losses.guess import Guess
from corekit.train.symptoms import of_recipe, of_training
from corekit.train.symptoms.history import History, Rates
from tests.train.symptoms.test_of_data import sentence

GUESS = Guess(math.log(128), "ln 128")


def noisy(mean: float, steps: int = 60, spread: float = 0.02, fall: float = 0.0) -> list[float]:
    draw = random.Random(0)
    return [mean - fall * step + draw.gauss(0, spread) for step in range(steps)]


@pytest.mark.parametrize("repeated", [False, True])
def test_a_loss_that_stands_at_guessing(repeated: bool) -> None:
    said = sentence(of_training.at_guessing(noisy(4.86), GUESS, 2e-3, repeated))
    assert "is 4.862, no better than guessing, ln 128 = 4.852" in said
    assert "optimizer.learning_rate is 0.002" in said
    assert of_training.at_guessing(noisy(5.4, spread=0.0), GUESS, 2e-3, repeated) is not None
    for fine in (noisy(4.6), noisy(5.4, fall=0.01), noisy(4.86, steps=40)):
        assert of_training.at_guessing(fine, GUESS, 2e-3, repeated) is None


def test_pairs_that_do_not_belong_together_are_learnt_by_heart() -> None:
    # pairs of 3,000 samples, shuffled, in steps 20 to 80 of the quickstart
    measured = [*noisy(4.855, 30, 0.012), *noisy(4.828, 30, 0.015)]
    assert "hardly better" in sentence(of_training.at_guessing(measured, GUESS, 2e-3, True))
    assert of_training.at_guessing(measured, GUESS, 2e-3, False) is None


def test_a_loss_that_rises() -> None:
    said = sentence(of_training.risen([*noisy(4.9), *[7.0] * 10], [4.9] * 5, GUESS, 0.2))
    assert "rose from 4.9 to 7; guessing is ln 128 = 4.852" in said
    assert "optimizer.learning_rate is 0.2;" in said
    assert of_training.risen([1.6] * 10, [1.0] * 5, None, 0.2) is not None
    for last in ([5.5] * 10, [*[7.0] * 9, 5.0]):
        assert of_training.risen(last, [4.9] * 5, GUESS, 0.2) is None
    assert of_training.risen([1.4] * 10, [1.0] * 5, None, 0.2) is None


def test_weights_that_grow() -> None:
    said = sentence(of_training.outgrown([0.2, 7.2, 60.0], 0.2, 16))
    assert said.startswith("at step 16 the weights are 7.2 times as large as at the start")
    assert of_training.outgrown([1.0, 1.2, 9.0], 0.2, 16) is None
    assert of_training.outgrown([], 0.2, 16) is None


def test_parts_without_gradient() -> None:
    assert of_training.dead({"image_tower": 2.0, "text_tower": 1e-9}) == ["text_tower"]
    assert of_training.dead({"image_tower": 2.0, "head": 1e-5}) == []
    assert of_training.dead({}) == []


def test_steps_that_are_skipped() -> None:
    in_half = sentence(of_training.overflows([False] * 24 + [True] * 8, "fp16"))
    assert "8 of the last 32 steps" in in_half
    assert "engine.precision=bf16" in in_half
    assert "bf16" not in sentence(of_training.overflows([True] * 8, "fp32"))
    assert of_training.overflows([True] * 7, "fp16") is None, "a scale that is being found"


@pytest.mark.parametrize(("steps", "warm_up", "expected"), [(100, 20, 80), (10_000, 2000, 2200)])
def test_a_loss_has_time_until_the_warm_up_is_over(steps: int, warm_up: int, expected: int) -> None:
    rates = Rates(lambda step: 1e-3 * min(1.0, (step + 1) / warm_up), steps)
    history = History(rates)
    for step in range(1, steps + 1):
        history.add({"contrastive": 4.86 + 0.01 * (step % 3)}, 1e-3 * min(1.0, step / warm_up))
        if found := list(history.symptoms(step, {"contrastive": GUESS}, False)):
            break
    assert [symptom.name for symptom in found] == ["stands_at_guessing"]
    assert expected / 2 < step < expected * 1.7


def test_a_loss_whose_guess_is_not_known_says_little() -> None:
    history = History(Rates(lambda step: 1e-3, 200))
    for _ in range(200):
        history.add({"own": 3.0}, 1e-3)
    assert list(history.symptoms(200, {}, False)) == []


def test_rates_that_are_nothing() -> None:
    assert "at most 0 in this run" in sentence(of_recipe.rate_is_zero([0.0, 0.0], 1e-3))
    assert of_recipe.rate_is_zero([0.0, 1e-5], 1e-3) is None


def test_a_run_that_trains_single_numbers_alone() -> None:
    said = sentence(of_recipe.only_numbers({"logit_scale": 1}, 7_000_000))
    assert said.startswith("1 of 7,000,000 numbers are trained (logit_scale)")
    assert of_recipe.only_numbers({"logit_scale": 1, "head.bias": 4}, 7_000_000) is None
