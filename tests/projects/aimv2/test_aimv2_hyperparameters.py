"""Rates, samples, decay and shares of the recipes are the paper's."""

import fnmatch

import pytest

from corekit.data.datasets.mixture import share_out
from corekit.optim.parameter_groups import undecayed
from corekit.optim.schedules import Cosine
from tests.plain import model_of, sampler_of
from tests.projects.recipe_tables import composed

PRETRAINING = {"large": 1e-3, "huge": 8e-4, "1b": 8e-4, "3b": 4e-4}  # and the highest rate
# by Apple
NOT_DECAYED = ("*bias*", "*pos_embed*", "*norm*", "*logit_scale*", "*cls_token*",
               "*positional_embedding*")


@pytest.mark.parametrize(("name", "peak"), PRETRAINING.items())
def test_the_rate_ends_at_1e_5_and_12_g_pairs_are_seen(name: str, peak: float) -> None:
    recipe = composed("aimv2", name)
    node, steps = recipe["schedule"], recipe["engine"]["steps"]
    schedule = Cosine(steps, node["warmup_steps"], node["final_fraction"])
    rates = [recipe["optimizer"]["learning_rate"] * schedule(step) for step in (12_499, steps)]
    assert rates == pytest.approx([peak, 1e-5], rel=1e-12)
    assert recipe["data"]["streams"] * sampler_of(recipe).draws(steps).start == 12_288_000_000


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_rest_of_table_a1(name: str) -> None:
    recipe = composed("aimv2", name)
    optimizer, engine, transform = recipe["optimizer"], recipe["engine"], recipe["data"][
        "transform"]
    assert (optimizer["name"], optimizer["betas"], optimizer["weight_decay"]) == ("adamw_decoupled",
                                                                                  [0.9, 0.95], 1e-4)
    assert (engine["batch_size"], engine["grad_clip"], engine["precision"]) == (8192, 1.0, "bf16")
    assert (transform["scale"], transform["ratio"], transform["flip"]) == ([0.4, 1.0], [0.75,
                                                                                        1.33], 0.5)
    assert {label: term["weight"]
            for label, term in recipe["loss"].items()} == {"next_token": 1.0, "next_patch": 0.4}
    assert (recipe["data"]["preprocess"]["size"], recipe["model"]["context_length"]) == (224, 77)


@pytest.mark.parametrize("name", [*PRETRAINING, "aimv1_600m", "lit"])
def test_what_is_not_decayed_is_what_apples_trainer_leaves_out(name: str) -> None:
    recipe = composed("aimv2", name)
    model = model_of(recipe)
    wanted = {
        key for key, _ in model.named_parameters() if any(
            fnmatch.fnmatch(key, pattern) for pattern in NOT_DECAYED)
    }
    assert undecayed(model, recipe["optimizer"]["no_decay"]) == wanted
    assert wanted


def test_sources_are_drawn_as_in_table_2() -> None:
    weights = {
        label: node["weight"]
        for label, node in composed("aimv2", "large")["data"]["dataset"]["sources"].items()
    }
    assert share_out(weights) == [weights[label] for label in weights]
    assert sum(weights.values()) == 100
    assert weights == {
        "dfn2b": 30, "dfn2b_synthetic": 30, "coyo": 9, "hqitp": 28, "hqitp_synthetic": 3
    }
