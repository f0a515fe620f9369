"""The ``register`` and ``declare_kind`` lines of one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

from corekit.errors import CorekitError

from .entries import Entry, Kind
from .modules import dotted, parse, top_level

RESERVED = ("kind", "recipe")  # words of the command line that are no kinds


def read_declarations(path: Path, module: str) -> Iterator[Kind | Entry]:
    """The kinds and entries of a file, in its order.

    Raises:
        CorekitError: the file does not parse, or a line cannot be understood without running it.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if "register(" not in text and "declare_kind(" not in text:
        return
    body = parse(path).body
    registers, declares = _spellings(body, "register"), _spellings(body, "declare_kind")
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and dotted(decorator.func) in registers:
                    yield _entry(path, module, node, decorator)
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and dotted(call.func) in declares:
            yield _kind(path, call)


def _spellings(body: list[ast.stmt], function: str) -> set[str]:
    """The names that a module's imports give to a function of ``corekit.registry``."""
    spellings = set()
    for statement in top_level(body):
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                source = f"{statement.module}.{alias.name}"
                if source == f"corekit.registry.{function}":
                    spellings.add(alias.asname or function)
                if source == "corekit.registry":
                    spellings.add(f"{alias.asname or 'registry'}.{function}")
        elif isinstance(statement, ast.Import):
            spellings |= {f"{alias.asname or alias.name}.{function}" for alias in statement.names
                          if alias.name == "corekit.registry"}
    return spellings


def _entry(path: Path, module: str, node: ast.FunctionDef | ast.ClassDef, call: ast.Call) -> Entry:
    kind, name, summary = (*_words(path, call), None, None, None)[:3]
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    if kind is None or name is None or len(call.args) > 3 or None in arguments:
        raise CorekitError(f"{path}:{call.lineno}: register takes a kind and a name, and for a "
                           "variant what it is and its arguments by name")
    values = {str(key): _literal(path, call, value) for key, value in arguments.items()}
    return Entry(kind, name, module, node.name, path, call.lineno, ast.get_docstring(node) or "",
                 summary, values if values or summary is not None else None)


def _kind(path: Path, call: ast.Call) -> Kind:
    where, words = f"{path}:{call.lineno}", _words(path, call)
    if len(words) != 2 or call.keywords:
        raise CorekitError(f"{where}: declare_kind takes a name and what such entries are")
    name, summary = words
    if not (name.isascii() and name.isidentifier() and name.isalnum() and name.islower()):
        raise CorekitError(f"{where}: '{name}' cannot be a kind: take one word of lower-case "
                           "letters and digits")
    if name in RESERVED:
        raise CorekitError(f"{where}: '{name}' cannot be a kind: it means something else on the "
                           "command line")
    return Kind(name, summary, path, call.lineno)


def _words(path: Path, call: ast.Call) -> list[str]:
    words = [_literal(path, call, argument) for argument in call.args]
    return [word for word in words if isinstance(word, str)]


def _literal(path: Path, call: ast.Call, node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CorekitError(f"{path}:{call.lineno}: {ast.unparse(call.func)} is read from source "
                           f"and takes literals alone, not {ast.unparse(node)}") from None
