"""Every recipe trains as the tables of its project's README say, cell by cell."""

import pytest

from tests.projects.recipe_tables import actual, expected, named, names

PROJECTS = ("mobileclip", "catlip", "aimv2")
OURS = "quickstart"  # how the names end of those that no paper has


@pytest.mark.parametrize(("project", "name"),
                         [(project, name) for project in PROJECTS for name in names(project)])
def test_a_recipe_has_the_values_of_the_tables(project: str, name: str) -> None:
    values = expected(project, name)
    if not name.endswith(OURS):
        assert len(values) > 20, f"no table of the README names {name}"
    assert actual(project, name, values) == values


@pytest.mark.parametrize("project", PROJECTS)
def test_the_tables_name_the_recipes_that_are_there(project: str) -> None:
    assert named(project) == {name for name in names(project) if not name.endswith(OURS)}
