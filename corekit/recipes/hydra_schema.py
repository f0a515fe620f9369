"""The schema that Hydra checks a command line against, derived from the typed recipe.

OmegaConf 2.3 knows neither ``Literal`` nor sections that take any key, so a literal type becomes an
enumeration, and an entry, whose keys are the arguments of its constructor, a free mapping.
"""

import dataclasses
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from corekit.recipes.build import is_free
from corekit.recipes.schema import InitPartConfig, RunConfig

FREE = dict[str, Any]


def free_sections(cls: type = RunConfig, prefix: str = "") -> list[str]:
    """The keys below which any key may stand."""
    keys: list[str] = []
    for name, hint in get_type_hints(cls).items():
        if is_free(hint) or get_origin(hint) is dict:
            keys.append(prefix + name)
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            keys += free_sections(hint, f"{prefix}{name}.")
    return keys


FREE_SECTIONS = free_sections()


def recipe_schema(cls: type = RunConfig) -> DictConfig:
    """The schema of a recipe or an evaluation: closed, but for the free sections."""
    schema = OmegaConf.structured(_structured(cls))
    assert isinstance(schema, DictConfig)
    for section in free_sections(cls):
        OmegaConf.set_struct(OmegaConf.select(schema, section), False)
    return schema


def _structured(cls: type) -> type:
    """The dataclass with types that OmegaConf knows."""
    hints = get_type_hints(cls)
    items = [(item, _known(hints[item.name], item.name)) for item in dataclasses.fields(cls)]
    columns = [(item.name, hint, _with_default(item, hint)) for item, hint in items]
    return dataclasses.make_dataclass(cls.__name__, columns)


def _with_default(item: "dataclasses.Field[object]", hint: object) -> object:
    """A field with the default of another one, as a value of the type that OmegaConf knows."""
    if hint == FREE:
        return dataclasses.field(default_factory=dict)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return dataclasses.field(default_factory=hint)
    if item.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=item.default_factory)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return dataclasses.field(default=hint[str(item.default)])
    return dataclasses.field(default=item.default)


def _known(hint: object, name: str) -> object:
    """A type of a field as OmegaConf knows it."""
    if is_free(hint) or hint == dict[str, InitPartConfig]:
        return FREE
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _structured(hint)
    if get_origin(hint) is Literal:
        return Enum(name, {choice: choice for choice in get_args(hint)})
    return hint
