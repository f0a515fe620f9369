"""Recipes as runs and model folders keep them, under today's names.

A saved recipe is resolved, and may be somebody else's: it is data, and nothing in it is resolved on
this machine. Of a recipe that came with weights alone, no place is taken.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from corekit.errors import CorekitError
from corekit.recipes.build import run_config
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes.schema import EvaluationConfig, Node, Plain, RunConfig

RENAMED = {"data.lanes": "data.streams"}  # key of an earlier corekit -> its name now
NOT_OF_WEIGHTS = ("root", "dataset", "transform")  # keys of data that training alone needs
PLACE, URL = re.compile(r"=.*[/:\\~]"), re.compile("=.*(://|::)")  # of ``key=value``
ROOT = re.compile(rf"\.root=|{PLACE.pattern}")


def load_saved_recipe(path: Path) -> DictConfig:
    """A ``recipe.yaml`` of weights or a run; keys of an earlier corekit get today's names.

    Raises:
        CorekitError: it is no recipe, or holds what would be resolved, as in ``${oc.env:HOME}``.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:
            raise CorekitError(f"{path} holds ${{...}}, which is not resolved where it comes with "
                               "weights or a run: put the value itself in its place")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise CorekitError(f"{path} holds aliases (*NAME), which no saved recipe has: put the "
                               "value itself in their place")
        recipe = OmegaConf.create(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CorekitError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, DictConfig) or not recipe.get("model"):
        raise CorekitError(f"{path} is no recipe: it needs a `model: {{name: ...}}`")
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


def load_config_of_weights(path: Path) -> RunConfig:
    """What the model itself needs, of a recipe that came with weights alone.

    Raises:
        CorekitError: a place stands where the model or its tokenizer is described.
    """
    return run_config(_of_weights(load_plain(path), path))


def _of_weights(recipe: Plain, path: Path) -> Plain:
    """The sections that describe a model; a vocabulary may be a file of this machine."""
    data = recipe.get("data")
    kept = ({key: value for key, value in data.items() if key not in NOT_OF_WEIGHTS}
            if isinstance(data, dict) else {})
    described = {"model": recipe.get("model"), "seed": recipe.get("seed", 0), "data": kept}
    places = [*_strings(described["model"], "model", PLACE),
              *_strings(kept, "data", URL)]
    if places:
        raise CorekitError(f"{path} names a place, {places[0]}: no place is taken from a recipe "
                           "that came with weights; put the file itself on this machine, and the "
                           "model in a project of your own")
    return described


def _strings(node: object, key: str, pattern: "re.Pattern[str]") -> Iterator[str]:
    """``key=value`` of every string that a pattern is in."""
    if isinstance(node, dict):
        for name, item in node.items():
            yield from _strings(item, f"{key}.{name}", pattern)
    elif isinstance(node, list):
        for item in node:
            yield from _strings(item, key, pattern)
    elif isinstance(node, str) and pattern.search(f"{key}={node}"):
        yield f"{key}={node}"


def fused(recipe: Plain) -> Plain:
    """The recipe of the same model after folding."""
    return {**recipe, "model": {**recipe["model"], "fused": True}}


def without_places(recipe: Node, arguments: Node, tokenizer: str | None) -> Node:
    """The recipe with other arguments of its model and, if given, another path of its tokenizer."""
    changed = {**recipe, "model": {**recipe["model"], **arguments}}
    if tokenizer is not None:
        data = recipe["data"]
        changed["data"] = {**data, "tokenizer": {**data["tokenizer"], "path": tokenizer}}
    return changed


def schema_of_saved(path: Path, checkpoint: str, own_evaluators: bool,
                    is_own_run: bool) -> DictConfig:
    """The schema of an evaluation with a saved recipe as its values.

    Args:
        path: the saved recipe.
        checkpoint: what was typed.
        own_evaluators: whether the recipe's evaluators count.
        is_own_run: whether the recipe is that of one's own run, whose places are taken too.

    Raises:
        CorekitError: evaluators count that name a place, in a recipe that came with weights alone.
    """
    saved, keys = load_plain(path), recipe_schema(EvaluationConfig)
    sections = {key: value for key, value in saved.items() if key in keys and key != "checkpoint"}
    if not own_evaluators:
        sections.pop("evaluators", None)
    if not is_own_run:
        _refuse_places(sections, path)
        sections |= _of_weights(saved, path)
    return schema_of_sections(sections, checkpoint)


def schema_of_sections(sections: Node, checkpoint: str) -> DictConfig:
    """The schema of an evaluation of what was typed, with sections of a recipe as its values."""
    schema = recipe_schema(EvaluationConfig)
    schema.merge_with(sections)
    schema.checkpoint = checkpoint
    return schema


def _refuse_places(sections: Node, path: Path) -> None:
    evaluators = sections.get("evaluators")
    places = list(_strings(evaluators, "evaluators", ROOT))
    if places:
        raise CorekitError(f"{path} evaluates on {places[0]}, but what weights that came without "
                           "their run are evaluated on is for you to name: type +evaluation=OPTION "
                           "data.root=FOLDER (corekit-eval --help lists the options)")
