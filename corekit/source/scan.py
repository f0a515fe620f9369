"""What ``register`` and ``declare_kind`` lines say, in corekit and in every project in reach."""

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from corekit import projects
from corekit.errors import CorekitError
from corekit.signatures import nearest

from .entries import Entry, Kind
from .modules import dotted, parse, top_level

RESERVED = ("kind", "recipe")  # words of the command line that are no kinds


@dataclass(frozen=True)
class Registry:
    """All kinds by name and all entries by (kind, name), both sorted."""

    kinds: dict[str, Kind]
    entries: dict[tuple[str, str], Entry]


def read_registry() -> Registry:
    """What is registered in corekit and in the projects in reach now.

    Raises:
        CorekitError: a file cannot be read, a kind is not declared, or one name is in two places.
    """
    return _read_registry(os.getcwd(), os.environ.get("COREKIT_PROJECTS", ""))


@lru_cache
def _read_registry(working_directory: str, variable: str) -> Registry:
    core = Path(__file__).parents[1]
    roots = [projects.Project("corekit", core, "corekit", "corekit"), *projects.find_projects().values()]
    kinds: dict[str, Kind] = {}
    entries: dict[tuple[str, str], Entry] = {}
    for each in (each for root in roots for file in _python_files(root.folder) for each in _read_file(root, file)):
        if isinstance(each, Kind):
            other_kind = kinds.setdefault(each.name, each)
            if other_kind is not each:
                raise CorekitError(f"the kind '{each.name}' is declared in two places: {other_kind.path}:"
                                   f"{other_kind.line} and {each.path}:{each.line}; rename one")
        else:
            other = entries.setdefault((each.kind, each.name), each)
            if other is not each:
                raise CorekitError(f"two {plural(each.kind)} are called '{each.name}': {other.path}:{other.line} "
                                   f"and {each.path}:{each.line}; rename one")
    for entry in entries.values():
        if entry.kind not in kinds:
            raise CorekitError(f"{entry.path}:{entry.line}: '{entry.name}' is registered as a '{entry.kind}', "
                               f"a kind that nobody declares{nearest(entry.kind, kinds)}; a new kind needs a "
                               f'line declare_kind("{entry.kind}", "what it is")')
    return Registry(dict(sorted(kinds.items())), dict(sorted(entries.items())))


def plural(kind: str) -> str:
    """models, losses, categories, ..."""
    if kind.endswith("y") and kind[-2:-1] not in "aeiou":
        return kind[:-1] + "ies"
    return kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")


def _python_files(folder: Path) -> list[Path]:
    """The Python files under a folder, without hidden ones and virtual environments."""
    paths = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders
                      if not name.startswith(".") and not Path(place, name, "pyvenv.cfg").exists()]
        paths += [Path(place, name) for name in files if name.endswith(".py") and not name.startswith(".")]
    return sorted(paths)


def _read_file(project: projects.Project, path: Path) -> Iterator[Kind | Entry]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "register(" not in text and "declare_kind(" not in text:
        return
    body = parse(path).body
    registers, declares = _spellings(body, "register"), _spellings(body, "declare_kind")
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and dotted(decorator.func) in registers:
                    yield _entry(project, path, node, decorator)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) in declares:
            yield _kind(path, node.value)


def _spellings(body: list[ast.stmt], function: str) -> set[str]:
    """What a function of ``corekit.registry`` is called in a module, as its imports say."""
    spellings = set()
    for statement in top_level(body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (statement.module, alias.name) == ("corekit.registry", function):
                    spellings.add(alias.asname or function)
                if (statement.module, alias.name) == ("corekit", "registry"):
                    spellings.add(f"{alias.asname or 'registry'}.{function}")
        elif isinstance(statement, ast.Import):
            spellings |= {f"{alias.asname or alias.name}.{function}" for alias in statement.names
                          if alias.name == "corekit.registry"}
    return spellings


def _entry(project: projects.Project, path: Path, node: ast.FunctionDef | ast.ClassDef, call: ast.Call) -> Entry:
    words = _literals(path, call, call.args)
    arguments = dict(zip([str(keyword.arg) for keyword in call.keywords],
                         _literals(path, call, [keyword.value for keyword in call.keywords])))
    if len(words) not in (2, 3) or not all(isinstance(word, str) for word in words) or "None" in arguments:
        raise CorekitError(f"{path}:{call.lineno}: register takes a kind and a name, and for a variant what it is "
                           "and its arguments by name")
    kind, name, *summary = map(str, words)
    return Entry(kind, name, project.module_name(path), node.name, path,
                       call.lineno, ast.get_docstring(node) or "", summary[0] if summary else None,
                       arguments if summary or arguments else None)


def _kind(path: Path, call: ast.Call) -> Kind:
    words = _literals(path, call, call.args)
    if len(words) != 2 or not all(isinstance(word, str) for word in words) or call.keywords:
        raise CorekitError(f"{path}:{call.lineno}: declare_kind takes a name and what such entries are")
    name, summary = map(str, words)
    if not (name.isascii() and name.isalnum() and name.islower() and name[0].isalpha()) or name in RESERVED:
        raise CorekitError(f"{path}:{call.lineno}: '{name}' cannot be a kind: take one word of lower-case letters "
                           f"and digits, other than {' and '.join(RESERVED)}")
    return Kind(name, summary, path, call.lineno)


def _literals(path: Path, call: ast.Call, nodes: list[ast.expr]) -> list[object]:
    try:
        return [ast.literal_eval(node) for node in nodes]
    except ValueError:
        raise CorekitError(f"{path}:{call.lineno}: {ast.unparse(call.func)} is read from source and takes literals "
                           f"alone, not {ast.unparse(call)}") from None
