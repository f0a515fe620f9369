"""Which recipes there are: ``<project>/recipes/<name>.yaml`` in every project in reach."""

from pathlib import Path

from corekit import projects


def recipe_file(config_path: str) -> Path | None:
    """The file of ``recipe/<project>/<name>``; None for another path or a project that is not
    there.
    """
    parts = config_path.removesuffix(".yaml").split("/")
    project = projects.find_projects().get(
        parts[1]) if len(parts) > 2 and parts[0] == "recipe" else None
    return None if project is None else project.folder / "recipes" / Path(
        *parts[2:]).with_suffix(".yaml")


def recipe_names() -> list[str]:
    """Every ``<project>/<name>``, sorted; a name that begins with _ is a part for other recipes and
    left out.
    """
    return [f"{name}/{path.stem}" for name, project in sorted(projects.find_projects().items())
            for path in sorted((project.folder / "recipes").glob("[!_]*.yaml"))]
