"""A plain recipe is read in ``corekit/recipes`` and nowhere else: everything after it takes its
section of the typed one.
"""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from corekit.recipes.schema import RunConfig

ROOT = Path(__file__).parents[2]
SECTIONS = {item.name for item in fields(RunConfig)} - {"loss"}  # which records have too
RECIPES = {"recipe", "config", "composed", "plain", "node"}  # what a plain one would be called
OTHER_MAPPINGS = {  # which have keys of the same names
    "corekit/evaluation/suite/report/compare.py": {"data"},  # hashes of a record
    "corekit/evaluation/suite/report/formats.py": {"model"},  # CLIP_benchmark's JSON
    "corekit/checkpoint/llava/vocabulary.py": {"model"},  # tokenizer.json
    "corekit/checkpoint/training_state.py": {"model", "optimizer"},  # a checkpoint's state
    "corekit/data/datasets/questions/answers.py": {"data"},  # files of benchmarks
    "corekit/data/datasets/questions/captions.py": {"data"},
    "corekit/source/constructors.py": {"init"},  # arguments of a dataclass's field
    "corekit/train/run_dir.py": {"data"},  # environment.json
}


def untyped_reads(source: str) -> Iterator[tuple[int, str]]:
    """(line, key) of every ``x["engine"]`` and ``x.get("engine")``, and of any key of a recipe."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            holder, key = node.value, node.slice
        elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
              and node.func.attr in ("get", "pop", "setdefault") and node.args):
            holder, key = node.func.value, node.args[0]
        else:
            continue
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            named = isinstance(holder, ast.Name) and holder.id in RECIPES
            if key.value in SECTIONS or named:
                yield node.lineno, key.value


def sources() -> list[Path]:
    files = [path for folder in ("corekit", "projects", "tools")
             for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in files if ROOT / "corekit" / "recipes" not in path.parents]


def test_nothing_outside_recipes_reads_an_untyped_recipe() -> None:
    reads = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        reads += [f"{name}:{line}: {key}" for line, key in untyped_reads(path.read_text())
                  if key not in OTHER_MAPPINGS.get(name, ())]
    assert not reads


@pytest.mark.parametrize("line", [
    'steps = recipe["engine"]["steps"]', 'size = given.get("data", {})', 'name = node["name"]',
    'recipe.pop("evaluators", None)'
])
def test_an_untyped_read_is_noticed(line: str) -> None:
    assert list(untyped_reads(line))
    assert not list(untyped_reads('label = batch["label"]; rate = entry.arguments["rate"]'))
