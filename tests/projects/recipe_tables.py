"""The tables of recipes in a project's README, and how a recipe is compared with them, cell by
cell.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from corekit.recipes.find import recipe_names
from tests.plain import compose

# the recipes of each column, a key, its value in each column
Row = tuple[list[str], str, list[str]]
ABSENT = "not there"


def readme(project: str) -> Path:
    return Path(__file__).parents[2] / "projects" / project / "README.md"


def names(project: str) -> list[str]:
    """A project's recipes, without its name."""
    return [
        name.removeprefix(f"{project}/") for name in recipe_names()
        if name.startswith(f"{project}/")
    ]


def composed(project: str, name: str) -> dict[str, Any]:
    return composed_recipe(f"{project}/{name}")


@cache
def composed_recipe(name: str) -> dict[str, Any]:
    """Composing takes a fifth of a second, and several tests need it: not to be changed."""
    return compose(f"+recipe={name}")


def tables(project: str) -> list[Row]:
    """The rows of all tables in the section on recipes: a column for recipes that share all values,
    a row for a key.
    """
    section = re.split(r"^## ",
                       readme(project).read_text(encoding="utf-8").split("\n## Recipes\n")[1],
                       flags=re.M)[0]
    rows: list[Row] = []
    header: list[str] = []
    for line in section.splitlines():
        cells = [cell.strip()
                 for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            header = []
        elif not header:
            header = cells[1:]
        elif not cells[0].startswith("---"):
            assert len(cells) == len(header) + 1, line
            rows.append((header, cells[0].strip("`"), cells[1:]))
    return rows


def expected(project: str, name: str) -> dict[str, Any]:
    """Key -> value for one recipe, of every table that names it; an empty cell is a key that is not
    there.
    """
    rows = [(key, cell) for header, key, cells in tables(project)
            for column, cell in zip(header, cells, strict=True)
            if f"`{name}`" in column.split(", ")]
    return {key: yaml.safe_load(cell) if cell else ABSENT for key, cell in rows}


def actual(project: str, name: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe has under these keys."""
    return {key: value_of(composed(project, name), key) for key in keys}


def named(project: str) -> set[str]:
    """All recipes that some table names."""
    return {
        name for header, _, _ in tables(project) for column in header
        for name in re.findall(r"`(\w+)`", column)
    }


def value_of(node: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node
