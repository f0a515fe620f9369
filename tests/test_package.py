"""The package's metadata agrees with the tree."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_folder_of_code_and_recipes_is_packaged() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {"corekit": "corekit", "projects": "corekit_projects", "recipes": "corekit_recipes"}
    expected = {
        ".".join((folders[path.relative_to(ROOT).parts[0]], *path.relative_to(ROOT).parts[1:-1]))
        for folder in folders for path in (ROOT / folder).rglob("__init__.py")
    }
    assert expected == listed
    loose = [
        path for folder in folders for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert not loose


def test_no_recipe_is_longer_than_forty_lines() -> None:
    for path in (ROOT / "projects").rglob("recipes/*.yaml"):
        assert len(path.read_text().splitlines()) <= 40, path
