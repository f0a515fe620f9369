"""The registry: string names for models, losses, datasets, samplers and the other things a recipe or a command picks by name.

Registering is one line beside the definition, with literal strings::

    @register("model", "tiny_tower")
    def tiny_tower(width: int = 64) -> nn.Module: ...

The registry reads those lines from source, so listing and checking import nothing; building an entry imports the
one module that defines it.
"""

import ast
import fnmatch
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from corekit import projects
from corekit.errors import CorekitError
from corekit.signatures import Signature, nearest, read_signature

KINDS = ("model", "loss", "dataset", "sampler", "field", "transform", "tokenizer", "optimizer", "schedule", "evaluator",
         "converter", "job", "teacher", "captioner", "head")

T = TypeVar("T", bound=Callable[..., Any])
_in_session: dict[tuple[str, str], Callable[..., Any]] = {}  # what was defined outside any file, as in a notebook


def register(kind: str, name: str) -> Callable[[T], T]:
    """Give a top-level class or function a name among the entries of a kind.

    Args:
        kind: one of ``KINDS``.
        name: a literal string, unique among the entries of that kind.

    Raises:
        ValueError: no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no kind '{kind}'{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}")

    def keep(definition: T) -> T:
        if definition.__module__ == "__main__":
            _in_session[kind, name] = definition
        return definition

    return keep


@dataclass(frozen=True)
class Entry:
    """One registered name, as its source describes it."""

    kind: str
    name: str
    module: str
    attribute: str
    path: Path
    line: int
    signature: Signature = field(repr=False)
    doc: str = field(repr=False)

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, in one line."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    def load(self) -> Callable[..., Any]:
        """Import the defining module and return the registered object."""
        loaded: Callable[..., Any] = getattr(importlib.import_module(self.module), self.attribute)
        return loaded


def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind, by name, sorted.

    Raises:
        CorekitError: no such kind, or one name in two places.
    """
    if kind not in KINDS:
        raise CorekitError(f"there is no kind '{kind}'{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}")
    return {entry.name: entry for entry in _scan(os.getcwd(), os.environ.get("COREKIT_PROJECTS", ""))
            if entry.kind == kind}


def find(kind: str, name: str) -> Entry:
    """The entry of that name; a CorekitError with the nearest name where there is none."""
    known = entries(kind)
    if name not in known:
        raise CorekitError(f"no {kind} is called '{name}'{nearest(name, known)}; "
                           f"`corekit list {kind}s` lists them all")
    return known[name]


def names(kind: str, pattern: str = "*") -> list[str]:
    """The names of a kind that match a shell-style pattern."""
    return fnmatch.filter(entries(kind), pattern)


def build(kind: str, name: str, arguments: Mapping[str, Any] | None = None,
          supplied: Mapping[str, Any] | None = None) -> Any:
    """Call the entry's constructor.

    An argument named after a kind (``dataset``, or ``train_dataset``) and given as a mapping with a ``name`` is built first,
    so entries nest; so is one inside a mapping that is given, as in ``sources: {web: {dataset: {name: ...}}}``, and each of a
    list in an argument named after several of a kind (``teachers: [{name: ...}, ...]``).

    Args:
        kind: the kind of entry.
        name: its name.
        arguments: what the recipe gives; checked against the signature.
        supplied: what the caller has to offer: given to parameters of these names that ``arguments`` leaves out.

    Raises:
        CorekitError: unknown name, unknown or missing arguments, wrong types.
    """
    arguments, supplied = dict(arguments or {}), supplied or {}
    if (kind, name) in _in_session:
        return _in_session[kind, name](**arguments)
    entry = find(kind, name)
    wrong = entry.signature.problems(arguments, supplied)
    if wrong:
        raise CorekitError(f"{kind} '{name}': " + "; ".join(f"'{key}' {what}" for key, what in wrong))
    arguments = {key: _build_nested(key, value, supplied) for key, value in arguments.items()}
    for key in entry.signature.names:
        if key in supplied and key not in arguments:
            arguments[key] = supplied[key]
    return entry.load()(**arguments)


def _build_nested(key: str, value: Any, supplied: Mapping[str, Any]) -> Any:
    kind = nested_kind(key, value)
    if kind is not None:
        return build(kind, value["name"], {inner: item for inner, item in value.items() if inner != "name"}, supplied)
    if isinstance(value, Mapping):
        return {inner: _build_nested(inner, item, supplied) for inner, item in value.items()}
    if isinstance(value, list):
        return [_build_nested(key.removesuffix("s"), item, supplied) for item in value]
    return value


def nested_kind(key: str, value: object) -> str | None:
    """The kind of entry that an argument names, None where it is a plain value.

    It names one where it is called as a kind is, or ``<something>_<kind>``, and is a mapping with a name.
    """
    kind = key.rsplit("_", 1)[-1]
    return kind if kind in KINDS and isinstance(value, Mapping) and "name" in value else None


@lru_cache
def _scan(working_directory: str, variable: str) -> tuple[Entry, ...]:
    core = Path(__file__).parent
    found = list(_entries_under(core, projects.Project("corekit", core, "corekit", "corekit").module_name))
    for project in projects.find_projects().values():
        found += _entries_under(project.folder, project.module_name)
    by_name: dict[tuple[str, str], Entry] = {}
    for entry in found:
        other = by_name.setdefault((entry.kind, entry.name), entry)
        if other is not entry:
            raise CorekitError(f"two {entry.kind}s are called '{entry.name}': {other.path}:{other.line} and "
                               f"{entry.path}:{entry.line}; rename one")
    return tuple(sorted(by_name.values(), key=lambda entry: (entry.kind, entry.name)))


def _entries_under(folder: Path, module_name: Callable[[Path], str]) -> Iterable[Entry]:
    for path in _python_files(folder):
        text = path.read_text(encoding="utf-8", errors="replace")
        if "register(" not in text:
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes, before Python 3.12
            where, what = getattr(error, "lineno", None) or 1, getattr(error, "msg", error)
            raise CorekitError(f"{path}:{where}: {what}; entries are read from source, so this file must parse") from None
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            for kind, name in filter(None, map(_registration, node.decorator_list)):
                yield Entry(kind, name, module_name(path), node.name, path, node.lineno,
                            read_signature(node, tree), ast.get_docstring(node) or "")


def _python_files(folder: Path) -> list[Path]:
    """The Python files under a folder, without hidden ones and virtual environments."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders
                      if not name.startswith(".") and not Path(place, name, "pyvenv.cfg").exists()]
        found += [Path(place, name) for name in files if name.endswith(".py") and not name.startswith(".")]
    return sorted(found)


def _registration(decorator: ast.expr) -> tuple[str, str] | None:
    if not isinstance(decorator, ast.Call) or len(decorator.args) != 2:
        return None
    called = decorator.func.attr if isinstance(decorator.func, ast.Attribute) else getattr(decorator.func, "id", None)
    values = [argument.value for argument in decorator.args if isinstance(argument, ast.Constant)]
    if called != "register" or len(values) != 2 or values[0] not in KINDS:
        return None
    return str(values[0]), str(values[1])
