"""A kind and an entry of it, as their lines in the source describe them."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corekit.errors import CorekitError
from corekit.signatures import Signature

from .constructors import read_signature
from .modules import read_module, resolve

Constructor = Callable[..., Any]  # of an entry, whose type is the entry's own


@dataclass(frozen=True)
class Kind:
    """A kind of entries, as its declaration describes it."""

    name: str
    summary: str
    path: Path
    line: int

    @property
    def where(self) -> str:
        """The file and line."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Entry:
    """One registered name, as its source describes it."""

    kind: str
    name: str
    module: str
    attribute: str
    path: Path
    line: int
    constructor_doc: str = field(repr=False)
    own_summary: str | None = field(default=None, repr=False)  # of a variant
    # the arguments that a variant gives to its constructor; None: no variant
    variant: dict[str, object] | None = field(default=None, repr=False, hash=False)

    @property
    def where(self) -> str:
        """The file and line."""
        return f"{self.path}:{self.line}"

    @property
    def doc(self) -> str:
        """The constructor's docstring, which begins with a variant's own summary."""
        if self.own_summary is None:
            return self.constructor_doc
        return "\n\n".join([self.own_summary, *self.constructor_doc.split("\n\n")[1:]])

    @property
    def summary(self) -> str:
        """The first paragraph of ``doc``, in one line."""
        return self.doc.split("\n\n")[0].replace("\n", " ")

    @property
    def constructor(self) -> Signature:
        """The arguments of the registered class or function, which may inherit its constructor."""
        definition = resolve(read_module(self.module, self.path), self.attribute)
        assert definition is not None
        return read_signature(definition)

    @property
    def signature(self) -> Signature:
        """The arguments that a recipe may give; a CorekitError where a variant does not fit."""
        constructor = self.constructor
        if self.variant is None:
            return constructor
        free = [each.name for each in constructor.parameters if not each.keyword_only]
        for name, problem in constructor.problems(self.variant, free):
            raise CorekitError(f"{self.where}: {self.kind} '{self.name}' is a variant of "
                               f"{self.attribute}, and its '{name}' {problem}")
        return constructor.variant(self.variant)

    @property
    def fixed(self) -> dict[str, str]:
        """The arguments of a variant's constructor that no recipe can change, as in the source."""
        if self.variant is None:
            return {}
        variant = {name: repr(value) for name, value in self.variant.items()}
        return {each.name: variant.get(each.name, str(each.default))
                for each in self.constructor.parameters if each.keyword_only}

    def load(self) -> Constructor:
        """Import the defining module and return what is registered."""
        constructor: Constructor = getattr(importlib.import_module(self.module), self.attribute)
        return constructor if self.variant is None else with_arguments(constructor, self.variant)


def with_arguments(constructor: Constructor, arguments: Mapping[str, object]) -> Constructor:
    """A variant of a constructor, with keyword-only parameters fixed and other defaults set."""
    parameters = []
    for each in inspect.signature(constructor).parameters.values():
        if each.kind is each.POSITIONAL_OR_KEYWORD:
            default = arguments.get(each.name, each.default)
            parameters.append(each.replace(default=default, kind=each.KEYWORD_ONLY))
        elif each.kind is each.VAR_KEYWORD:
            parameters.append(each)
    signature = inspect.Signature(parameters)

    @functools.wraps(constructor)
    def build(**others: object) -> object:
        signature.bind(**others)
        return constructor(**{**arguments, **others})

    build.__signature__ = signature  # type: ignore[attr-defined]
    return build
