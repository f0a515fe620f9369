"""Recipes as runs and model folders keep them, under today's names."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from corekit.recipes.build import run_config
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes.schema import EvaluationConfig, Plain, RunConfig

RENAMED = {"data.lanes": "data.streams"}  # key of an earlier corekit -> its name now


def load_saved_recipe(path: Path) -> DictConfig:
    """A ``recipe.yaml`` of weights or a run; keys of an earlier corekit get today's names."""
    recipe = OmegaConf.load(path)
    assert isinstance(recipe, DictConfig)
    for old, new in RENAMED.items():
        value = OmegaConf.select(recipe, old)
        if value is not None:
            OmegaConf.update(recipe, new, value)
            section, _, name = old.rpartition(".")
            del OmegaConf.select(recipe, section)[name]
    return recipe


def load_plain(path: Path) -> Plain:
    """A saved recipe as plain values."""
    recipe = OmegaConf.to_container(load_saved_recipe(path))
    assert isinstance(recipe, dict)
    return {str(key): value for key, value in recipe.items()}


def load_config(path: Path) -> RunConfig:
    """A saved recipe; keys that it lacks have their defaults."""
    return run_config(load_plain(path))


def fused(recipe: Plain) -> Plain:
    """The recipe of the same model after folding."""
    return {**recipe, "model": {**recipe["model"], "fused": True}}


def schema_of_saved(path: Path, checkpoint: str, own_evaluators: bool) -> DictConfig:
    """The schema of an evaluation with a saved recipe as its values.

    The recipe's evaluators count only with ``own_evaluators``.
    """
    schema, saved = recipe_schema(EvaluationConfig), load_saved_recipe(path)
    sections = {str(key): value for key, value in saved.items()
            if key in schema and key != "checkpoint"}
    if not own_evaluators:
        sections.pop("evaluators", None)
    schema.merge_with(sections)
    schema.checkpoint = checkpoint
    return schema
