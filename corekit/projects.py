"""Projects in reach: packages, ``COREKIT_PROJECTS``, ``projects/`` in the working directory.

A project is a folder with a ``recipes/`` folder in it; its Python files may register entries. Under
the working directory, where other code may lie, it has to say that it is one of corekit's.
Nothing of a project is imported to find it.
"""

import importlib.util
import logging
import multiprocessing
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from corekit.errors import CorekitError

NAMESPACE = "corekit_projects"
# places, as messages call them
OWN, NAMED, LOCAL = "installed with corekit", "COREKIT_PROJECTS", "./projects"


@dataclass(frozen=True)
class Project:
    """One project: its name, its folder, and the package its modules are imported under."""

    name: str
    folder: Path
    package: str
    place: str  # how it was found, for messages

    def module_name(self, file: Path) -> str:
        """The dotted name of one of this project's files."""
        parts = file.relative_to(self.folder).with_suffix("").parts
        return ".".join((self.package, *(part for part in parts if part != "__init__")))


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, without importing it; None where there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else None


def find_projects() -> dict[str, Project]:
    """All projects in reach, by name.

    Raises:
        CorekitError: ``COREKIT_PROJECTS`` names a folder without projects, an installed project is
            incomplete, or two places hold different projects of one name. Installed projects yield
            to those that ``COREKIT_PROJECTS`` names, but never to those in ``./projects``, which
            may be somebody else's.
    """
    return _find_projects(os.getcwd(), os.environ.get("COREKIT_PROJECTS", ""))


@lru_cache
def _find_projects(working_directory: str, variable: str) -> dict[str, Project]:
    projects: dict[str, Project] = {}
    shipped = package_folder(NAMESPACE)
    for folder in _projects_in(shipped) if shipped else ():
        _add(projects, _in_folder(folder, OWN))
    for point in entry_points(group="corekit.projects"):
        installed = package_folder(point.module)
        if installed is None:
            raise CorekitError(f"the installed project '{point.name}' points at package "
                               f"'{point.module}', which cannot be found: reinstall what brought "
                               "it, or uninstall it")
        _add(projects, Project(point.name, installed, point.module, f"package {point.module}"))
    for part in map(Path, filter(None, variable.split(os.pathsep))):
        folders = [part.absolute()] if (part / "recipes").is_dir() else _projects_in(part)
        if not folders:
            raise CorekitError(f"COREKIT_PROJECTS names '{part}', which is neither a project "
                               "(a folder with recipes/) nor a folder of projects")
        for folder in folders:
            _add(projects, _in_folder(folder, NAMED))
    for folder in filter(_knows_corekit, _projects_in(Path(working_directory) / "projects")):
        _add(projects, _in_folder(folder, LOCAL))
    return projects


def _in_folder(folder: Path, place: str) -> Project:
    return Project(folder.name, folder, f"{NAMESPACE}.{folder.name}", place)


def _projects_in(folder: Path) -> list[Path]:
    """The projects right under a folder, but for hidden ones, such as one being written."""
    if not folder.is_dir():
        return []
    return sorted(child.absolute() for child in folder.iterdir()
                  if not child.name.startswith(".") and (child / "recipes").is_dir())


def _knows_corekit(folder: Path) -> bool:
    """Whether a folder is a project of corekit's, and no other code that has a ``recipes`` folder.

    Of other code no Python file says corekit, and no recipe is one of Hydra's.
    """
    sources, recipes = ([text for file in folder.glob(pattern)
                         if file.is_file() and (text := file.read_bytes().strip())]
                        for pattern in ("*.py", "recipes/*.yaml"))
    return (not sources or any(b"corekit" in text for text in sources)
            or any(b"# @package" in text for text in recipes))


def _add(projects: dict[str, Project], project: Project) -> None:
    if any(os.path.samefile(other.folder, project.folder) for other in projects.values()):
        return
    if not project.name.replace("-", "_").isidentifier():
        raise CorekitError(f"{project.folder} ({project.place}) cannot be a project's name: "
                           "rename the folder to letters, digits and _")
    other = projects.get(project.name)
    if other is not None and project.place == LOCAL:
        _warn("%s is left out, since a project '%s' is there already (%s): to use it instead, put "
              "COREKIT_PROJECTS=%s before the command", project.folder, project.name, other.place,
              shlex.quote(str(project.folder)))
        return
    if other is not None and (project.place != NAMED or other.place == NAMED):
        raise CorekitError(f"two projects are called '{project.name}': {other.folder} "
                           f"({other.place}) and {project.folder} ({project.place}); rename one of "
                           "the folders")
    if other is not None:
        _warn("using %s in place of the installed project '%s'", project.folder, project.name)
    projects[project.name] = project


def _warn(message: str, *words: object) -> None:
    """Log a warning, of all processes of a command in the first alone."""
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    if rank == "0" and multiprocessing.parent_process() is None:
        logging.getLogger("corekit").warning(message, *words)


class ProjectFinder:
    """Python's import of ``corekit_projects.<name>``, wherever the project lies.

    ``corekit_projects`` itself puts it on ``sys.meta_path``, so that a process that only unpickles
    a project's objects, such as a data worker on macOS, finds their classes too. Folders in
    ``__path__`` would not do: there a project without ``__init__.py``, as ``corekit new`` makes it,
    yields to an installed one of its name, and every folder beside a named project comes along.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """The package of a project; None for anything else, which other finders find."""
        if not name.startswith(NAMESPACE + ".") or name.count(".") > 1:
            return None
        project = find_projects().get(name.partition(".")[2])
        if project is None or project.package != name:
            return None
        init = project.folder / "__init__.py"
        if init.is_file():
            return importlib.util.spec_from_file_location(
                name, init, submodule_search_locations=[str(project.folder)])
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(project.folder)]
        return spec
