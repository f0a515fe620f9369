"""Recipes as runs and model folders keep them, under today's names."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

RENAMED = {"data.lanes": "data.streams"}  # key of an earlier corekit -> its name now


def load_saved_recipe(path: Path) -> DictConfig:
    """A ``recipe.yaml`` that lies beside weights or in a run directory; keys of an earlier corekit
    get today's names.
    """
    recipe = OmegaConf.load(path)
    assert isinstance(recipe, DictConfig)
    for old, new in RENAMED.items():
        value = OmegaConf.select(recipe, old)
        if value is not None:
            OmegaConf.update(recipe, new, value)
            section, _, name = old.rpartition(".")
            del OmegaConf.select(recipe, section)[name]
    return recipe
