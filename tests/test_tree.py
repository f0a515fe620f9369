"""The tree as CONTRIBUTING.md describes it: arrows point one way, folders are small, types are
known.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = {
    "registry", "signatures", "source", "kinds", "errors", "seeds", "files", "records", "stalls",
    "projects", "linear_output", "wiring"
}
PIECES = {"data", "models", "losses"}
MIDDLE = {"checkpoint", "evaluation", "distributed", "optim", "export"}
MAY_IMPORT = {
    "source": set(),
    "recipes": set(),
    "data": set(),
    "models": {"recipes"},
    "losses": set(),
    "distributed": {"models"},
    "optim": {"distributed", "models"},
    "checkpoint": {"distributed", "optim", "recipes", *PIECES},
    "export": {"checkpoint", "recipes", *PIECES},
    "evaluation": {"checkpoint", "distributed", "optim", "recipes", *PIECES},
    "train": {"recipes", *PIECES, *MIDDLE},
    "cli": {"train", "recipes", *PIECES, *MIDDLE},
}
MOST_FILES = 12  # in a folder, beside __init__.py
MOST_ANY = 80


def python_files(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file below these folders, parsed."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_arrows_between_rooms_point_one_way() -> None:
    wrong = []
    for path, tree in python_files("corekit"):
        room = path.parts[1]
        for module in imported_modules(tree):
            parts = module.split(".")
            if parts[0] == "corekit_projects":
                wrong.append(f"{path} imports a project: {module}")
            if parts[0] != "corekit" or len(path.parts) == 2 or len(parts) < 2:
                continue
            if parts[1] not in {room, *NAMES, *MAY_IMPORT[room]
                                } and (ROOT / "corekit" / parts[1]).is_dir():
                wrong.append(f"{path} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_projects_need_pieces_and_never_the_trainer() -> None:
    wrong = [
        f"{path} imports {module}" for path, tree in python_files("projects")
        for module in imported_modules(tree) if module.startswith(("corekit.train", "corekit.cli"))
    ]
    assert not wrong, "\n".join(wrong)


def test_folders_are_small() -> None:
    counts = {
        folder.relative_to(ROOT):
            len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in [ROOT / "corekit", *(ROOT / "corekit").rglob("*")] if folder.is_dir()
    }
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """The annotation of every parameter, result and variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef):
            parameters = [
                *node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg,
                node.args.kwarg
            ]
            yield from (each.annotation for each in parameters
                        if each is not None and each.annotation is not None)
            if node.returns is not None:
                yield node.returns


def test_types_are_known() -> None:
    loose = [
        str(path) for path, tree in python_files("corekit", "projects")
        for annotation in annotations(tree) if any(
            isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))
    ]
    assert len(loose) < MOST_ANY, f"{len(loose)} annotations say Any: {sorted(set(loose))}"


def test_only_commands_print() -> None:
    prints = [
        f"{path}:{node.lineno}" for path, tree in python_files("corekit") if path.parts[1] != "cli"
        for node in ast.walk(tree) if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert prints == []
