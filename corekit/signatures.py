"""The parameters of a constructor, and whether a recipe's values fit them."""

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

_SCALARS = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
_LISTS = {"list", "tuple", "Sequence", "Iterable", "set", "frozenset"}
_MAPPINGS = {"dict", "Mapping", "MutableMapping"}


@dataclass(frozen=True)
class Parameter:
    """One named argument: its annotation and default as in the source; None where there is none."""

    name: str
    annotation: str | None
    default: str | None
    keyword_only: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is None

    def __str__(self) -> str:
        text = self.name if self.annotation is None else f"{self.name}: {self.annotation}"
        return text if self.default is None else f"{text} = {self.default}"


@dataclass(frozen=True)
class Signature:
    """A constructor's parameters; ``open_ended`` where it takes ``**kwargs`` or has no source."""

    parameters: tuple[Parameter, ...]
    open_ended: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the parameters, in order."""
        return [parameter.name for parameter in self.parameters]

    def problems(self, arguments: Mapping[str, object],
                 supplied: Iterable[str] = ()) -> list[tuple[str, str]]:
        """(argument, sentence) for every error; the engine may give the ``supplied`` arguments."""
        problems = []
        annotations = {parameter.name: parameter.annotation for parameter in self.parameters}
        for name, value in arguments.items():
            annotation = annotations.get(name)
            if annotation is not None and not fits(annotation, value):
                problems.append((name, f"takes {annotation}, not {value!r}"))
            elif name not in annotations and not self.open_ended:
                problems.append((name, f"is not an argument it takes{nearest(name, self.names)}; "
                                       f"it takes {', '.join(self.names) or 'none'}"))
        present = {*arguments, *supplied}
        missing = [each for each in self.parameters if each.required and each.name not in present]
        return problems + [(each.name, f"is missing: it takes {each}") for each in missing]

    def variant(self, arguments: Mapping[str, object]) -> "Signature":
        """The parameters that a variant with these arguments leaves to a recipe.

        Keyword-only parameters are the variant's own and go; the others have its values as
        defaults.
        """
        defaults = {name: repr(value) for name, value in arguments.items()}
        free = [replace(each, default=defaults.get(each.name, each.default))
                for each in self.parameters if not each.keyword_only]
        return Signature(tuple(free), self.open_ended)


def closest(word: str, words: Iterable[str]) -> str | None:
    """The word most like it, None where none is."""
    matches = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return matches[0] if matches else None


def nearest(word: str, words: Iterable[str]) -> str:
    """' (did you mean ...?)' with the closest of the words, or ''."""
    match = closest(word, words)
    return f" (did you mean '{match}'?)" if match else ""


def fits(annotation: str, value: object) -> bool:
    """Whether a plain value (numbers, strings, lists, mappings) is of the annotated type.

    Types that a recipe cannot write (modules, tensors) accept anything: such arguments are built
    from a mapping.
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
    if outer == "Optional" and value is None:
        return True
    if outer in ("Optional", "Union"):
        return any(_fits(choice, value) for choice in inner)
    if outer in _MAPPINGS:
        items = value.values() if isinstance(value, dict) and len(inner) > 1 else ()
        return isinstance(value, dict) and all(_fits(inner[1], item) for item in items)
    if outer in _LISTS:
        if not isinstance(value, (list, tuple)):
            return False
        if outer != "tuple" or ast.unparse(inner[-1]) == "...":
            return all(_fits(inner[0], item) for item in value)
        return len(value) == len(inner) and all(map(_fits, inner, value))
    return True
