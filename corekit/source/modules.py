"""Modules as source: a module's file, and the class or function that a name in it stands for."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from corekit.errors import CorekitError
from corekit.projects import NAMESPACE, find_projects


@dataclass(frozen=True)
class Module:
    """A parsed module; a folder without ``__init__.py`` is an empty one."""

    name: str
    path: Path = field(compare=False)
    tree: ast.Module = field(compare=False, repr=False)

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Definition:
    """A top-level class or function of a module."""

    module: Module
    name: str
    node: ast.ClassDef | ast.FunctionDef = field(compare=False, repr=False)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file; a CorekitError where it is not Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, before Python 3.12
        line, reason = getattr(error, "lineno", None) or 1, getattr(error, "msg", error)
        raise CorekitError(f"{path}:{line}: {reason}; entries are read from source, "
                           "so this file must parse") from None


@lru_cache(maxsize=64)
def read_module(name: str, path: Path) -> Module:
    """The module in a file."""
    return Module(name, path, parse(path))


def find_module(name: str) -> Module | None:
    """The module of a dotted name, wherever it is installed; None where it has no source."""
    path = _base_path(name)
    if path is None:
        return None
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return read_module(name, file)
    empty = ast.Module(body=[], type_ignores=[])
    return Module(name, path / "__init__.py", empty) if path.is_dir() else None


def _base_path(name: str) -> Path | None:
    """The path of a module's file without its suffix, or of a package's folder.

    ``importlib.util.find_spec`` imports the parents of a dotted name, so it is asked for the first
    part alone.
    """
    first, *rest = name.split(".")
    if first == NAMESPACE and rest and rest[0] in find_projects():
        return find_projects()[rest[0]].folder.joinpath(*rest[1:])
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        return None
    folders = list(spec.submodule_search_locations or [])
    return Path(folders[0] if folders else str(spec.origin).removesuffix(".py")).joinpath(*rest)


def resolve(module: Module, name: str) -> Definition | None:
    """The class or function that a dotted name stands for, followed through imports and aliases.

    None where it is something else, or has no source.
    """
    target = _resolve(module, name, frozenset())
    return target if isinstance(target, Definition) else None


_Seen = frozenset[tuple[str, str]]


def _resolve(module: Module, name: str, visited: _Seen) -> Module | Definition | None:
    target: Module | Definition | None = module
    for part in name.split("."):
        target = _member(target, part, visited) if isinstance(target, Module) else None
    return target


def _member(module: Module, name: str, visited: _Seen) -> Module | Definition | None:
    if (module.name, name) in visited:  # a circle of imports
        return None
    visited |= {(module.name, name)}
    for statement in reversed(list(top_level(module.tree.body))):
        target = _bound(statement, module, name, visited)
        if target is not None:
            return target
    return find_module(f"{module.name}.{name}") if module.path.name == "__init__.py" else None


def _bound(statement: ast.stmt, module: Module, name: str,
           visited: _Seen) -> Module | Definition | None:
    """What a statement binds a name to; None where it binds another name."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
        return Definition(module, name, statement) if statement.name == name else None
    if isinstance(statement, ast.Assign):
        value = dotted(statement.value)
        names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
        return _resolve(module, value, visited) if name in names and value else None
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            if name == (alias.asname or alias.name.partition(".")[0]):
                return find_module(alias.name if alias.asname else name)
    if isinstance(statement, ast.ImportFrom):
        return _imported(statement, module, name, visited)
    return None


def _imported(statement: ast.ImportFrom, module: Module, name: str,
              visited: _Seen) -> Module | Definition | None:
    original = next((alias.name for alias in statement.names
                     if alias.name == "*" or (alias.asname or alias.name) == name), None)
    if original is None:
        return None
    try:
        relative = "." * statement.level + (statement.module or "")
        source = importlib.util.resolve_name(relative, module.package)
    except ImportError:
        return None
    origin = find_module(source)
    original = name if original == "*" else original
    return None if origin is None else _member(origin, original, visited)


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those inside ``if`` and ``try``."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            yield from top_level(statement.body + statement.orelse)
        elif isinstance(statement, ast.Try):
            handlers = [inner for handler in statement.handlers for inner in handler.body]
            yield from top_level(statement.body + handlers + statement.orelse)


def dotted(node: ast.expr) -> str | None:
    """``a.b.c`` as in the source, without ``[...]`` behind it; None for any other expression."""
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    if isinstance(node, ast.Attribute):
        value = dotted(node.value)
        return value and f"{value}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None
