"""The typed recipe and the plain one say the same, and one definition makes both."""

from dataclasses import FrozenInstanceError

import hydra
import pytest
from omegaconf import OmegaConf

from corekit.errors import CorekitError
from corekit.recipes import hydra_sources
from corekit.recipes.build import evaluation_config, run_config
from corekit.recipes.compose import compose, plain
from corekit.recipes.find import recipe_names
from corekit.recipes.hydra_schema import FREE_SECTIONS, recipe_schema
from corekit.recipes.schema import EntryConfig, EvaluationConfig, LossConfig, ModelConfig


@pytest.mark.parametrize("name", recipe_names()[::4])
def test_a_recipe_comes_back_as_it_was_composed(name: str) -> None:
    hydra_sources.install(recipe_schema())
    with hydra.initialize_config_module("corekit.recipes", version_base="1.3"):
        composed = plain(hydra.compose("train", [f"+recipe={name}"]))
    assert run_config(composed).to_plain() == composed
    assert list(run_config(composed).to_plain()) == list(composed)


def test_defaults_of_the_schema_are_those_of_the_typed_recipe() -> None:
    schema = OmegaConf.to_container(recipe_schema(), enum_to_str=True)
    assert isinstance(schema, dict)
    assert run_config({"model": {"name": "m"}}).to_plain() == {**schema, "model": {"name": "m"}}
    assert list(recipe_schema(EvaluationConfig)) == ["checkpoint", "model", "data", "engine",
                                                     "evaluators", "seed", "sets", "published",
                                                     "store"]
    assert {"model", "loss", "data.dataset", "init.rename", "evaluators"} < set(FREE_SECTIONS)
    assert not {"engine", "data", "data.preprocess", "init"} & set(FREE_SECTIONS)


def test_entries_keep_the_engines_keys_apart_from_arguments() -> None:
    config = run_config({
        "model": {"name": "m", "width": 3, "inputs": {"x": "image"}, "frozen": ["a.*"]},
        "loss": {"one": {"name": "l", "weight": 0.5}, "two": {"name": "k", "scale": 2}},
        "evaluators": {"knn": {"name": "knn", "k": 5, "every_steps": 10}}
    })
    assert config.model == ModelConfig("m", {"width": 3}, {"x": "image"}, None, ["a.*"])
    assert config.loss == (LossConfig("l", {}, "one", "loss.one", None, 0.5),
                           LossConfig("k", {"scale": 2}, "two", "loss.two"))
    (knn,) = config.evaluators
    assert (knn.label, knn.arguments, knn.every_steps) == ("knn", {"k": 5}, 10)
    alone = run_config({"model": {"name": "m"}, "loss": {"name": "l"}})
    assert alone.to_plain()["loss"] == {"name": "l"}
    assert (alone.loss[0].label, alone.loss[0].key) == ("l", "loss")
    assert EntryConfig("m", {"model": {"name": "inner", "width": 2}}).inner("model") == EntryConfig(
        "inner", {"width": 2})


def test_a_typed_recipe_is_not_changed_and_needs_a_model() -> None:
    config = run_config({"model": {"name": "m"}})
    with pytest.raises(FrozenInstanceError):
        config.engine.steps = 3  # type: ignore[misc]
    with pytest.raises(CorekitError, match="names no model"):
        run_config({"seed": 3})
    with pytest.raises(CorekitError, match=r"evaluators\.knn needs a `name`"):
        evaluation_config({"model": {"name": "m"}, "evaluators": {"knn": {"k": 5}}})


def test_a_part_that_every_run_needs_is_missed_in_a_sentence() -> None:
    with pytest.raises(CorekitError, match="there is no sampler: the recipe needs a `sampler"):
        compose("+recipe=mobileclip/quickstart", "~sampler")
