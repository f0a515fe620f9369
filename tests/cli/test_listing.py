"""``corekit list`` on a terminal: each name with what it is."""

import argparse
import sys
from pathlib import Path

import pytest

from corekit.cli.listing import list_names


def test_recipes_are_listed_with_their_first_sentence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    recipes = tmp_path / "mine" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "first.yaml").write_text("# @package _global_\n# A first one (Mehta et al., 2024), "
                                        "at\n# 2.5 %. More of it.\nseed: 1  # a seed\n")
    (recipes / "second.yaml").write_text("seed: 1\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path / "mine"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    list_names(argparse.Namespace(kind="recipes", pattern="mine/*"))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "mine/first   A first one (Mehta et al., 2024), at 2.5 %", "mine/second"
    ]
