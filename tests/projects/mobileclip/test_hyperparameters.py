"""Every recipe trains as the README's tables say, cell by cell, and prepares pictures as its model's weights want them."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from corekit_projects.mobileclip.preprocess import PREPROCESS

from corekit.cli.compose import compose
from corekit.engine.build import build_model, build_preprocess
from corekit.engine.optimizers import undecayed
from corekit.recipes import recipe_names

README = Path(__file__).parents[3] / "projects" / "mobileclip" / "README.md"
NAMES = [name.removeprefix("mobileclip/") for name in recipe_names() if name.startswith("mobileclip/")]
Row = tuple[list[str], str, list[str]]  # the recipes of each column, a key, its value in each column
ABSENT = "not there"


def tables() -> list[Row]:
    """The rows of all tables in the section on recipes: a column for recipes that share all values, a row for a key."""
    section = re.split(r"^## ", README.read_text(encoding="utf-8").split("\n## Recipes\n")[1], flags=re.M)[0]
    found: list[Row] = []
    header: list[str] = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells[1:]
        elif not cells[0].startswith("---"):
            assert len(cells) == len(header) + 1, line
            found.append((header, cells[0].strip("`"), cells[1:]))
    return found


@cache
def composed(name: str) -> dict[str, Any]:
    return compose(f"+recipe=mobileclip/{name}")


def value_of(node: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_values_of_the_tables(name: str) -> None:
    rows = [(key, cell) for header, key, cells in tables() for column, cell in zip(header, cells, strict=True)
            if f"`{name}`" in column.split(", ")]
    if not name.endswith("quickstart"):  # no paper's
        assert len(rows) > 20, f"no table of {README} names {name}"
    expected = {key: yaml.safe_load(cell) if cell else ABSENT for key, cell in rows}
    assert {key: value_of(composed(name), key) for key in expected} == expected


def test_the_tables_name_only_recipes_that_are_there() -> None:
    named = {name for header, _, _ in tables() for column in header for name in re.findall(r"`(\w+)`", column)}
    assert named == {name for name in NAMES if not name.endswith("quickstart")}


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_prepared_as_the_models_weights_want_them(name: str) -> None:
    recipe = composed(name)
    model = recipe["model"]["name"]
    if model in PREPROCESS:
        assert build_preprocess(recipe) == PREPROCESS[model]
    else:
        assert model in ("clip_vit_b16", "mobileclip_nano")
    variant = name if name.startswith("mobileclip2") else f"mobileclip_{name.removesuffix('_constant')}"
    assert model == variant or variant not in PREPROCESS


@pytest.mark.parametrize(("name", "theirs"), [("datacomp12m", "ViT-B-16"), ("dfndr12m", "MobileCLIP-B")])
def test_what_is_not_decayed_is_what_open_clips_script_does_not_decay(name: str, theirs: str) -> None:
    recipe = composed(name)
    ours = dict(build_model(recipe, torch.device("meta")).named_parameters())
    with torch.device("meta"):
        model = open_clip.create_model(theirs, device="meta")
    # Vectors, norms, biases and the logit scale, as open_clip_train/main.py tells them by shape and name.
    expected = [value.numel() for key, value in model.named_parameters()
                if value.ndim < 2 or any(part in key for part in ("bn", "ln", "bias", "logit_scale"))]
    exempt = undecayed(build_model(recipe, torch.device("meta")), recipe["optimizer"]["no_decay"])
    assert sum(ours[key].numel() for key in exempt) == sum(expected)
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in model.parameters())
