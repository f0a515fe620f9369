"""Recipes beside weights, as they are found."""

from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.recipes.saved import load_config


@pytest.mark.parametrize("content", [b"", b"[]", b"hello: 1\n", b"model: [", b"a: \xff\n"])
def test_what_is_no_saved_recipe_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(CorekitError, match=r"recipe.yaml (cannot be read|is no recipe)") as caught:
        load_config(tmp_path / "recipe.yaml")
    assert "\n" not in str(caught.value)
