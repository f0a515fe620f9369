"""Imports point one way: cli and export, train, what it is made of, data and models, recipes, the
registry.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "corekit"
LEVELS = [  # a room imports from its own line and from those above
    {"source"},
    {"recipes"},
    {"data", "models", "losses"},
    {"checkpoint", "evaluation", "distributed", "optim"},
    {"train"},
    {"cli", "export"},
]


def level(room: str) -> int:
    """Of a folder; the files beside the folders are below all of them."""
    return next((number for number, rooms in enumerate(LEVELS, 1) if room in rooms), 0)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of what a file imports from corekit, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "corekit":
                names = [f"corekit.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("corekit."):
                yield node.lineno, name.split(".")[1]


def test_every_folder_has_its_line() -> None:
    folders = {path.name for path in CORE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set().union(*LEVELS)


@pytest.mark.parametrize("room", sorted(set().union(*LEVELS)))
def test_a_room_imports_from_below_alone(room: str) -> None:
    upward = [f"{path.relative_to(CORE)}:{line} imports {other}"
              for path in sorted((CORE / room).rglob("*.py")) for line, other in imported(path)
              if level(other) > level(room)]
    assert not upward
