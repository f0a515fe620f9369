"""What a constructor accepts, read from its source: parameter names, types and defaults, without importing it."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SCALARS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_LISTS = {"list", "tuple", "Sequence", "Iterable", "set", "frozenset"}
_MAPPINGS = {"dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True)
class Parameter:
    """One named argument: its annotation and default as they stand in the source (None: none there)."""

    name: str
    annotation: str | None
    default: str | None

    @property
    def required(self) -> bool:
        return self.default is None

    def __str__(self) -> str:
        text = self.name if self.annotation is None else f"{self.name}: {self.annotation}"
        return text if self.default is None else f"{text} = {self.default}"


@dataclass(frozen=True)
class Signature:
    """A constructor's parameters; ``open_ended`` where it takes ``**kwargs`` or cannot be read from source."""

    parameters: tuple[Parameter, ...]
    open_ended: bool = False

    @property
    def names(self) -> list[str]:
        return [parameter.name for parameter in self.parameters]

    def problems(self, arguments: Mapping[str, object], supplied: Iterable[str] = ()) -> list[tuple[str, str]]:
        """What is wrong with these arguments: (argument, sentence) pairs.

        Args:
            arguments: what the recipe gives.
            supplied: names that the engine gives itself where they are asked for and not given.
        """
        found = []
        for name, value in arguments.items():
            parameter = next((parameter for parameter in self.parameters if parameter.name == name), None)
            if parameter is not None:
                if parameter.annotation is not None and not fits(parameter.annotation, value):
                    found.append((name, f"takes {parameter.annotation}, not {value!r}"))
            elif not self.open_ended:
                found.append((name, f"is not an argument it takes{nearest(name, self.names)}; "
                                    f"it takes {', '.join(self.names) or 'none'}"))
        given = {*arguments, *supplied}
        found += [(parameter.name, f"is missing: it takes {parameter}") for parameter in self.parameters
                  if parameter.required and parameter.name not in given]
        return found


def closest(word: str, words: Iterable[str]) -> str | None:
    """The word most like it, None where none is."""
    matches = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return matches[0] if matches else None


def nearest(word: str, words: Iterable[str]) -> str:
    """' (did you mean ...?)' with the closest of the words, or ''."""
    match = closest(word, words)
    return f" (did you mean '{match}'?)" if match else ""


def read_signature(node: ast.FunctionDef | ast.ClassDef, module: ast.Module) -> Signature:
    """The signature of a top-level function or class of a parsed module."""
    if isinstance(node, ast.FunctionDef):
        return _function(node, skip_self=False)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _function(item, skip_self=True)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
        return Signature(tuple(
            Parameter(ast.unparse(item.target), ast.unparse(item.annotation),
                      None if item.value is None else ast.unparse(item.value)) for item in fields))
    classes = {item.name: item for item in module.body if isinstance(item, ast.ClassDef)}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            return read_signature(classes[base.id], module)
    return Signature((), open_ended=bool(node.bases))


def _function(node: ast.FunctionDef, skip_self: bool) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults)) + list(node.args.defaults)
    pairs = list(zip(positional, defaults))[1 if skip_self else 0:]
    pairs += list(zip(node.args.kwonlyargs, node.args.kw_defaults))
    return Signature(
        tuple(Parameter(argument.arg, None if argument.annotation is None else ast.unparse(argument.annotation),
                        None if default is None else ast.unparse(default)) for argument, default in pairs),
        open_ended=node.args.kwarg is not None)


def fits(annotation: str, value: object) -> bool:
    """Whether a plain value (numbers, strings, lists, mappings) is of the annotated type.

    Types that a recipe cannot write (modules, tensors) accept anything: such arguments are built from a mapping.
    """
    return _fits(ast.parse(annotation.strip("'\""), mode="eval").body, value)


def _fits(node: ast.expr, value: object) -> bool:
    if isinstance(node, ast.BinOp):
        return _fits(node.left, value) or _fits(node.right, value)
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return fits(node.value, value)
        return value is None if node.value is None else True
    if isinstance(node, ast.Name):
        return _fits_name(node.id, value)
    if isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rsplit(".", 1)[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _fits_generic(outer, inner, value)
    return True


def _fits_name(name: str, value: object) -> bool:
    if name in _SCALARS:
        return isinstance(value, _SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
    if name in _LISTS:
        return isinstance(value, (list, tuple))
    return isinstance(value, dict) if name in _MAPPINGS else True


def _fits_generic(outer: str, inner: list[ast.expr], value: object) -> bool:
    if outer == "Literal":
        return any(isinstance(choice, ast.Constant) and choice.value == value for choice in inner)
    if outer in ("Optional", "Union"):
        return (outer == "Optional" and value is None) or any(_fits(choice, value) for choice in inner)
    if outer in _MAPPINGS:
        return isinstance(value, dict) and (len(inner) < 2 or all(_fits(inner[1], item) for item in value.values()))
    if outer in _LISTS:
        if not isinstance(value, (list, tuple)):
            return False
        fixed = outer == "tuple" and not (isinstance(inner[-1], ast.Constant) and inner[-1].value is ...)
        if fixed:
            return len(value) == len(inner) and all(_fits(part, item) for part, item in zip(inner, value))
        return all(_fits(inner[0], item) for item in value)
    return True
