"""From a plain recipe, as YAML holds it, to the typed one, and back."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

from corekit.errors import CorekitError
from corekit.recipes.schema import (
    EntryConfig,
    EvaluationConfig,
    EvaluatorConfig,
    InitPartConfig,
    LossConfig,
    ModelConfig,
    Node,
    Plain,
    RunConfig,
)

Entry = TypeVar("Entry", bound=EntryConfig)
Section = TypeVar("Section")


def run_config(plain: Node) -> RunConfig:
    """The typed recipe of a plain one; keys that are missing have their defaults.

    Raises:
        CorekitError: it names no model, or an entry of it has no name.
    """
    return _section(RunConfig, plain)


def evaluation_config(plain: Node) -> EvaluationConfig:
    """The typed form of an evaluation, as ``run_config``."""
    return _section(EvaluationConfig, plain)


def to_plain(config: object) -> Plain:
    """A section as a recipe writes it: the keys in the order of its class."""
    assert dataclasses.is_dataclass(config)
    return {item.name: _written(getattr(config, item.name), is_entry=is_free(hint))
            for item, hint in _fields(type(config))}


def is_free(hint: object) -> bool:
    """Whether a field of this type takes any key: those of a registered entry's constructor."""
    return hint in _READERS


def _section(cls: type[Section], plain: Node) -> Section:
    if "model" in dict(get_type_hints(cls)) and not plain.get("model"):
        raise CorekitError("the recipe names no model: it needs a `model: {name: ...}`")
    values = {item.name: _value(hint, plain[item.name], item.name)
              for item, hint in _fields(cls) if item.name in plain}
    return cls(**values)


def _value(hint: object, value: Any, key: str) -> object:
    if is_free(hint):
        return _READERS[hint](value or {}, key)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _section(hint, value or {})
    if hint == dict[str, InitPartConfig]:
        return {part: _section(InitPartConfig, node) for part, node in init_parts(value).items()}
    return copy.deepcopy(value)


def init_parts(node: Node, prefix: str = "") -> dict[str, Node]:
    """The nodes of ``init.parts`` by submodule; one inside another is typed as a key below it."""
    parts: dict[str, Node] = {}
    for name, item in node.items():
        if isinstance(item, Mapping) and item and all(isinstance(each, Mapping)
                                                      for each in item.values()):
            parts |= init_parts(item, f"{prefix}{name}.")
        else:
            parts[f"{prefix}{name}"] = item
    return parts


def _fields(cls: type) -> list[tuple["dataclasses.Field[object]", object]]:
    hints = get_type_hints(cls)
    return [(item, hints[item.name]) for item in dataclasses.fields(cls)]


def _entry(cls: type[Entry], node: Node, where: str, **place: str) -> Entry:
    """One entry: its name, the engine's own keys, and the rest, which are its arguments."""
    if not isinstance(node, Mapping) or "name" not in node:
        raise CorekitError(f"{where} needs a `name`")
    wiring = {name: node[name] for name in cls.wiring_keys() if name in node}
    arguments = {name: node[name] for name in node if name != "name" and name not in wiring}
    return cls(name=str(node["name"]), arguments=copy.deepcopy(arguments), **wiring, **place)


def _losses(node: Node, key: str) -> tuple[LossConfig, ...]:
    if "name" in node:
        return (_entry(LossConfig, node, key, label=str(node["name"]), key=key),)
    return tuple(_entry(LossConfig, each, f"{key}.{label}", label=label, key=f"{key}.{label}")
                 for label, each in node.items())


_READERS: dict[object, Callable[[Node, str], object]] = {
    ModelConfig: lambda node, key: _entry(ModelConfig, node, key),
    EntryConfig | None: lambda node, key: _entry(EntryConfig, node, key) if node else None,
    tuple[LossConfig, ...]: _losses,
    tuple[EvaluatorConfig, ...]: lambda node, key: tuple(
        _entry(EvaluatorConfig, each, f"{key}.{label}", label=label)
        for label, each in node.items()),
    Mapping[str, ModelConfig]: lambda node, key: {
        label: _entry(ModelConfig, each, f"{key}.{label}") for label, each in node.items()},
}


def _written(value: object, is_entry: bool) -> object:
    if isinstance(value, EntryConfig):
        return value.to_plain()
    if is_entry and isinstance(value, tuple):
        if [each.key for each in value if isinstance(each, LossConfig)] == ["loss"]:
            return value[0].to_plain()
        return {each.label: each.to_plain() for each in value}
    if is_entry:
        entries = value if isinstance(value, Mapping) else {}
        return {label: entry.to_plain() for label, entry in entries.items()}
    if isinstance(value, Mapping):
        return {key: _written(item, False) for key, item in value.items()}
    return to_plain(value) if dataclasses.is_dataclass(value) else copy.deepcopy(value)
