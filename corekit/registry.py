"""The registry: string names for all that a recipe or a command picks by name.

Registering is one line beside the definition, with literal strings::

    @register("model", "tiny_tower")
    def tiny_tower(width: int = 64) -> nn.Module: ...

Variants of one constructor are a literal line each::

    @register("model", "tower_s", "A tower of 6 blocks.", layers=6)
    @register("model", "tower_l", "A tower of 24 blocks.", layers=24, drop_path_rate=0.1)
    def tower(drop_path_rate: float = 0.0, *, layers: int) -> nn.Module: ...

The registry reads those lines from source, so listing and checking import nothing; building an
entry imports the one module that defines it.
"""

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from corekit.errors import CorekitError
from corekit.signatures import nearest
from corekit.source.entries import Constructor, Entry, Kind, with_arguments
from corekit.source.scan import plural as plural
from corekit.source.scan import read_registry

T = TypeVar("T", bound=Constructor)
Arguments = Mapping[str, Any]  # as YAML has them
# What was defined outside any file, as in a notebook.
_in_session: dict[tuple[str, str], Constructor] = {}
_kinds_in_session: set[str] = set()


def declare_kind(name: str, summary: str) -> None:
    """Make a kind of entries: a literal line at the top level of a module.

    Its entries are listed, shown and built as all others are, also inside the arguments of other
    entries. The name is one word in lower case, such as ``adapter``.
    """
    _kinds_in_session.add(name)


def register(kind: str, name: str, summary: str | None = None, /,
             **arguments: object) -> Callable[[T], T]:
    """Give a top-level class or function a name among the entries of a kind.

    Args:
        kind: a declared kind.
        name: a literal string, unique among the entries of that kind.
        summary: of a variant, what it is, in one literal line.
        arguments: of a variant, literal: those of keyword-only parameters, which a recipe cannot
            change, and other defaults for the rest. Keyword-only parameters are never a recipe's
            where entries are variants.

    Raises:
        CorekitError: in a notebook, no such kind.
    """
    def keep(definition: T) -> T:
        if definition.__module__ == "__main__":
            find_kind(kind, *_kinds_in_session)
            is_variant = summary is not None or arguments
            entry = with_arguments(definition, arguments) if is_variant else definition
            _in_session[kind, name] = entry
        return definition

    return keep


def kinds() -> dict[str, Kind]:
    """All declared kinds, by name, sorted."""
    return read_registry().kinds


def find_kind(word: str, *others: str) -> str:
    """The kind of a word in the singular or plural, or one of ``others``; else a CorekitError."""
    singular = {plural(kind): kind for kind in (*kinds(), *others)}
    kind = singular.get(word, word)
    if kind not in singular.values():
        guess = nearest(word, [*singular.values(), *singular])
        raise CorekitError(f"there is no kind '{word}'{guess}; "
                           f"kinds are {', '.join(sorted(singular.values()))}")
    return kind


def entries(kind: str) -> dict[str, Entry]:
    """All entries of a kind, by name, sorted; a CorekitError where there is no such kind."""
    kind = find_kind(kind)
    return {name: entry for (of, name), entry in read_registry().entries.items() if of == kind}


def find(kind: str, name: str) -> Entry:
    """The entry of that name; a CorekitError with the nearest name where there is none."""
    by_name = entries(kind)
    if name not in by_name:
        raise CorekitError(f"no {kind} is called '{name}'{nearest(name, by_name)}; "
                           f"`corekit list {plural(kind)}` lists them all")
    return by_name[name]


def names(kind: str, pattern: str = "*") -> list[str]:
    """The names of a kind that match a shell-style pattern."""
    return fnmatch.filter(entries(kind), pattern)


def build(kind: str, name: str, arguments: Arguments | None = None,
          supplied: Arguments | None = None) -> Any:
    """Call the entry's constructor.

    An argument named after a kind (``dataset``, or ``train_dataset``) and given as a mapping with a
    ``name`` is built first, so entries nest; so is one inside a mapping, as in ``sources: {web:
    {dataset: {name: ...}}}``, and each of a list in an argument named after several of a kind
    (``teachers: [{name: ...}, ...]``).

    Args:
        kind: the kind of entry.
        name: its name.
        arguments: what the recipe gives; checked against the signature.
        supplied: what the caller offers: given to parameters of these names that ``arguments``
            leaves out.

    Raises:
        CorekitError: unknown name, unknown or missing arguments, wrong types, or a ValueError of
            the constructor.
    """
    arguments, supplied = arguments or {}, supplied or {}
    constructor = _in_session.get((kind, name))
    extra: dict[str, object] = {}
    if constructor is None:
        entry = find(kind, name)
        signature = entry.signature
        problems = signature.problems(arguments, supplied)
        if problems:
            sentences = "; ".join(f"'{key}' {what}" for key, what in problems)
            raise CorekitError(f"{kind} '{name}': {sentences}")
        constructor = entry.load()
        extra = {key: supplied[key] for key in signature.names
                 if key in supplied and key not in arguments}
    nested = {key: _build_nested(key, value, supplied) for key, value in arguments.items()}
    try:
        return constructor(**nested, **extra)
    except ValueError as error:  # a value that the constructor refuses, as torch's do
        raise CorekitError(f"{kind} '{name}': {error}") from error


def _build_nested(key: str, value: object, supplied: Arguments) -> object:
    if isinstance(value, Mapping):
        kind = nested_kind(key, value)
        if kind is not None:
            inner = {name: item for name, item in value.items() if name != "name"}
            return build(kind, value["name"], inner, supplied)
        return {name: _build_nested(name, item, supplied) for name, item in value.items()}
    if isinstance(value, list):
        return [_build_nested(item_key(key), item, supplied) for item in value]
    return value


def nested_kind(key: str, value: object) -> str | None:
    """The kind of entry that an argument names, None where it is a plain value.

    An argument names one where its key is a kind or ``<something>_<kind>``, and its value a mapping
    with a name.
    """
    if not isinstance(value, Mapping) or "name" not in value:
        return None
    kind = key.rpartition("_")[2]
    return kind if kind in kinds() or kind in _kinds_in_session else None


def item_key(key: str) -> str:
    """The singular of an argument that is named after several of a kind."""
    *before, word = key.split("_")
    singular = {plural(kind): kind for kind in (*kinds(), *_kinds_in_session)}
    return "_".join([*before, singular.get(word, word)])
