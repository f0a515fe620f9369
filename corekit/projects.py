"""Where projects are: installed packages, ``COREKIT_PROJECTS``, and ``projects/`` under the working directory.

A project is a folder with a ``recipes/`` folder in it; its Python files may register entries. Nothing of a project
is imported to find it.
"""

import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from corekit.errors import CorekitError

NAMESPACE = "corekit_projects"


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
        CorekitError: ``COREKIT_PROJECTS`` names a folder without projects, or two places hold different projects
            of one name. An installed corekit's own projects yield to those in ``./projects``.
    """
    return _find_projects(os.getcwd(), os.environ.get("COREKIT_PROJECTS", ""))


@lru_cache
def _find_projects(working_directory: str, variable: str) -> dict[str, Project]:
    found: dict[str, Project] = {}
    own: set[str] = set()
    shipped = package_folder(NAMESPACE)
    if shipped is not None:
        for folder in _projects_in(shipped):
            found[folder.name] = Project(folder.name, folder, f"{NAMESPACE}.{folder.name}", "installed with corekit")
            own.add(folder.name)
    for point in entry_points(group="corekit.projects"):
        installed = package_folder(point.value)
        if installed is None:
            raise CorekitError(f"the installed project '{point.name}' points at package '{point.value}', "
                               "which cannot be found: reinstall it")
        _add(found, own, Project(point.name, installed, point.value, f"package {point.value}"))
    for part in filter(None, variable.split(os.pathsep)):
        folders = _projects_in(Path(part))
        if not folders:
            raise CorekitError(f"COREKIT_PROJECTS names '{part}', which is neither a project (a folder with recipes/) "
                               "nor a folder of projects")
        for folder in folders:
            _add(found, own, Project(folder.name, folder, f"{NAMESPACE}.{folder.name}", "COREKIT_PROJECTS"))
    for folder in _projects_in(Path(working_directory) / "projects"):
        _add(found, own, Project(folder.name, folder, f"{NAMESPACE}.{folder.name}", "./projects"))
    return found


def _projects_in(folder: Path) -> list[Path]:
    if (folder / "recipes").is_dir():
        return [folder.resolve()]
    if not folder.is_dir():
        return []
    return sorted(child.resolve() for child in folder.iterdir() if (child / "recipes").is_dir())


def _add(found: dict[str, Project], own: set[str], project: Project) -> None:
    other = found.get(project.name)
    if other is not None and os.path.realpath(other.folder) == os.path.realpath(project.folder):
        return
    if other is not None and not (project.name in own and project.place == "./projects"):
        raise CorekitError(f"two projects are called '{project.name}': {other.folder} ({other.place}) and "
                           f"{project.folder} ({project.place}); rename one of the folders")
    if other is not None:
        print(f"corekit: using {project.folder} in place of the installed project '{project.name}'", file=sys.stderr)
    found[project.name] = project


def import_module(name: str) -> object:
    """Import a module of corekit or of a project, making a project found in a folder importable first."""
    for project in find_projects().values():
        in_package = name == project.package or name.startswith(project.package + ".")
        if in_package and project.package not in sys.modules:
            _make_importable(project)
    return importlib.import_module(name)


def _make_importable(project: Project) -> None:
    init = project.folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        project.package, init if init.is_file() else None, submodule_search_locations=[str(project.folder)])
    if spec is None:
        spec = importlib.machinery.ModuleSpec(project.package, None, is_package=True)
        spec.submodule_search_locations = [str(project.folder)]
    if NAMESPACE not in sys.modules and project.package.startswith(NAMESPACE + "."):
        importlib.import_module(NAMESPACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[project.package] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)
