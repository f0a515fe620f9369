"""The signature of a class or function, read from source: its own, or one from another file."""

import ast
from collections.abc import Iterable

from corekit.signatures import Parameter, Signature

from .modules import Definition, dotted, resolve

WITHOUT_ARGUMENTS = {"object", "ABC", "Protocol", "Generic"}


def read_signature(definition: Definition) -> Signature:
    """The arguments of a call; open-ended where a base class has no source."""
    if isinstance(definition.node, ast.FunctionDef):
        return _function(definition.node)
    signature = _own_signature(definition)
    if signature is not None:
        return signature
    bases = _bases(definition)
    if len(bases) == 1 and bases[0] is not None:
        return read_signature(bases[0])
    for ancestor in _linearized(definition)[1:]:
        if ancestor is None:
            return Signature((), open_ended=True)
        signature = _own_signature(ancestor)
        if signature is not None:
            return signature
    return Signature(())


def _own_signature(definition: Definition) -> Signature | None:
    """The signature of a class's own constructor; None where it inherits one."""
    assert isinstance(definition.node, ast.ClassDef)
    for item in definition.node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _function(item, skip_self=True)
    options = _dataclass_options(definition.node)
    if options is not None and options.get("init") is not False:
        return _dataclass(definition)
    if any((dotted(base) or "").endswith("NamedTuple") for base in definition.node.bases):
        return Signature(_present(_fields(definition.node.body, keyword_only=False)))
    return None


def _bases(definition: Definition) -> list[Definition | None]:
    """The base classes that may take arguments; None for one without source."""
    assert isinstance(definition.node, ast.ClassDef)
    bases: list[Definition | None] = []
    for name in map(dotted, definition.node.bases):
        if name is None or name.rpartition(".")[2] not in WITHOUT_ARGUMENTS:
            base = resolve(definition.module, name) if name else None
            bases.append(base if base and isinstance(base.node, ast.ClassDef) else None)
    return bases


def _linearized(definition: Definition) -> list[Definition | None]:
    """The class and its ancestors in Python's method resolution order (C3)."""
    bases = _bases(definition)
    rows = [*(_linearized(base) if base is not None else [None] for base in bases), bases]
    order: list[Definition | None] = [definition]
    while rows := [row for row in rows if row]:
        later = [ancestor for row in rows for ancestor in row[1:]]
        first = next((row[0] for row in rows if row[0] not in later), rows[0][0])
        order.append(first)
        rows = [[ancestor for ancestor in row if ancestor != first] for row in rows]
    return order


def _function(node: ast.FunctionDef, skip_self: bool = False) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args]
    required = len(positional) - len(node.args.defaults)
    rows = [*zip(positional, [*[None] * required, *node.args.defaults])][int(skip_self):]
    rows += zip(node.args.kwonlyargs, node.args.kw_defaults)
    parameters = [Parameter(argument.arg, _text(argument.annotation), _text(default),
                            keyword_only=argument in node.args.kwonlyargs)
                  for argument, default in rows]
    return Signature(tuple(parameters), open_ended=node.args.kwarg is not None)


def _text(node: ast.expr | None) -> str | None:
    return None if node is None else ast.unparse(node)


def _dataclass_options(node: ast.ClassDef) -> dict[str, object] | None:
    """The literal arguments of ``@dataclass(...)``; None where the class has no such decorator."""
    for decorator in node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _last_part(function) == "dataclass":
            return _options(decorator)
    return None


def _last_part(node: ast.expr) -> str:
    return (dotted(node) or "").rpartition(".")[2]


def _options(call: ast.expr) -> dict[str, object]:
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return {keyword.arg: keyword.value.value for keyword in keywords
            if keyword.arg is not None and isinstance(keyword.value, ast.Constant)}


def _dataclass(definition: Definition) -> Signature:
    """The fields of a dataclass and of the dataclasses it inherits from, keyword-only ones last."""
    fields: dict[str, Parameter | None] = {}
    ancestors = _linearized(definition)
    for ancestor in reversed(ancestors):
        if ancestor is not None and isinstance(ancestor.node, ast.ClassDef):
            options = _dataclass_options(ancestor.node)
            if options is not None:
                fields.update(_fields(ancestor.node.body, bool(options.get("kw_only"))))
    parameters = sorted(_present(fields), key=lambda parameter: parameter.keyword_only)
    return Signature(tuple(parameters), open_ended=None in ancestors)


def _present(fields: dict[str, Parameter | None]) -> tuple[Parameter, ...]:
    return tuple(parameter for parameter in fields.values() if parameter is not None)


def _fields(body: Iterable[ast.stmt], keyword_only: bool) -> dict[str, Parameter | None]:
    """The fields of one dataclass by name; None for one that its constructor does not take."""
    fields: dict[str, Parameter | None] = {}
    for item in body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        kind = _last_part(item.annotation)
        if kind == "KW_ONLY":
            keyword_only = True
        elif kind != "ClassVar":
            fields[item.target.id] = _field(item.target.id, item, keyword_only)
    return fields


def _field(name: str, item: ast.AnnAssign, keyword_only: bool) -> Parameter | None:
    """The parameter of a line ``name: type = default`` or ``name: type = field(...)``."""
    annotation, value = ast.unparse(item.annotation), item.value
    if not isinstance(value, ast.Call) or _last_part(value.func) != "field":
        return Parameter(name, annotation, _text(value), keyword_only)
    options = _options(value)
    if options.get("init") is False:
        return None
    keywords = {keyword.arg: keyword.value for keyword in value.keywords}
    default = _text(keywords.get("default"))
    if "default_factory" in keywords:
        default = f"{ast.unparse(keywords['default_factory'])}()"
    return Parameter(name, annotation, default, bool(options.get("kw_only", keyword_only)))
