"""The recipes of every project in reach: ``<project>/recipes/<name>.yaml``."""

from pathlib import Path

from corekit import projects


def recipe_file(config_path: str) -> Path | None:
    """The file of ``recipe/<project>/<name>``; None where there is no such file."""
    group, _, path = config_path.partition("/")
    name, _, recipe = path.removesuffix(".yaml").partition("/")
    project = projects.find_projects().get(name)
    if group != "recipe" or project is None or not recipe:
        return None
    file = project.folder / "recipes" / f"{recipe}.yaml"
    return file if file.is_file() else None


def recipe_names() -> list[str]:
    """Every ``<project>/<name>``, sorted, without parts of recipes, which begin with _."""
    return [f"{name}/{path.stem}" for name, project in sorted(projects.find_projects().items())
            for path in sorted((project.folder / "recipes").glob("[!_]*.yaml"))]
