"""All kinds and entries of corekit and of every project in reach."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from corekit.errors import CorekitError
from corekit.projects import Project, find_projects
from corekit.signatures import nearest

from .declarations import read_declarations
from .entries import Entry, Kind


@dataclass(frozen=True)
class Registry:
    """All kinds by name and all entries by (kind, name), both sorted."""

    kinds: dict[str, Kind]
    entries: dict[tuple[str, str], Entry]


def read_registry() -> Registry:
    """All kinds and entries of corekit and of the projects that are in reach now.

    Raises:
        CorekitError: a file cannot be read, a kind is not declared, or one name is in two places.
    """
    return _read_registry(os.getcwd(), os.environ.get("COREKIT_PROJECTS", ""))


@lru_cache
def _read_registry(working_directory: str, variable: str) -> Registry:
    kinds: dict[str, Kind] = {}
    entries: dict[tuple[str, str], Entry] = {}
    for item in _all_declarations():
        first: Kind | Entry
        if isinstance(item, Kind):
            group, first = "kinds", kinds.setdefault(item.name, item)
        else:
            group, first = plural(item.kind), entries.setdefault((item.kind, item.name), item)
        if first is not item:
            raise CorekitError(f"two {group} are called '{item.name}': {first.where} and "
                               f"{item.where}; rename one")
    for entry in entries.values():
        if entry.kind not in kinds:
            guess = nearest(entry.kind, kinds)
            raise CorekitError(f"{entry.where}: '{entry.name}' is registered as a '{entry.kind}', "
                               f"a kind that nobody declares{guess}; a new kind needs a line "
                               f'declare_kind("{entry.kind}", "what it is")')
    return Registry(dict(sorted(kinds.items())), dict(sorted(entries.items())))


def _all_declarations() -> Iterator[Kind | Entry]:
    core = Project("corekit", Path(__file__).parents[1], "corekit", "corekit")
    for project in (core, *find_projects().values()):
        for path in _python_files(project.folder):
            yield from read_declarations(path, project.module_name(path))


def _python_files(folder: Path) -> list[Path]:
    """The Python files under a folder, without hidden ones and virtual environments."""
    paths = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders
                      if not name.startswith(".") and not Path(place, name, "pyvenv.cfg").exists()]
        paths += [Path(place, name) for name in files
                  if name.endswith(".py") and not name.startswith(".")]
    return sorted(paths)


def plural(kind: str) -> str:
    """The plural of a kind: models, losses, categories, ..."""
    if kind.endswith("y") and kind[-2:-1] not in "aeiou":
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")
