"""What Hydra checks a command line against, derived from the typed recipe.

OmegaConf 2.3 knows neither ``Literal`` nor sections that take any key, so a literal type becomes an
enumeration, and an entry, whose keys are the arguments of its constructor, a free mapping.
"""

import dataclasses
import types
from enum import Enum
from typing import Any, Dict, List, Literal, Optional, get_args, get_origin, get_type_hints  # noqa: UP035

from omegaconf import DictConfig, OmegaConf

from corekit.recipes.build import is_free
from corekit.recipes.schema import EvaluationConfig, RunConfig


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


def recipe_schema() -> DictConfig:
    """The schema of a recipe: closed, but for the free sections."""
    return _opened(RunConfig)


def evaluation_schema() -> DictConfig:
    """The schema of an evaluation: closed, but for the free sections."""
    return _opened(EvaluationConfig)


def _opened(cls: type) -> DictConfig:
    schema = OmegaConf.structured(_structured(cls))
    assert isinstance(schema, DictConfig)
    for section in free_sections(cls):
        OmegaConf.set_struct(OmegaConf.select(schema, section), False)
    return schema


def _structured(cls: type) -> type:
    """The dataclass with types that OmegaConf knows."""
    hints = get_type_hints(cls)
    made: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(cls):
        hint = _known(hints[item.name], item.name)
        default: Any = item.default
        if isinstance(default, str) and get_origin(hints[item.name]) is Literal:
            default = hint[default]
        if hint == Dict[str, Any] or item.default_factory is not dataclasses.MISSING:  # noqa: UP006
            factory: Any = item.default_factory
            if hint == Dict[str, Any]:  # noqa: UP006
                factory = dict
            elif dataclasses.is_dataclass(hint):
                factory = hint
            made.append((item.name, hint, dataclasses.field(default_factory=factory)))
        else:
            made.append((item.name, hint, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(cls.__name__, made)


def _known(hint: Any, name: str) -> Any:
    """A type of a field as OmegaConf knows it."""
    if is_free(hint):
        return Dict[str, Any]  # noqa: UP006
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _structured(hint)
    if get_origin(hint) is Literal:
        return Enum(name, {choice: choice for choice in get_args(hint)})
    if get_origin(hint) is list:
        return List[get_args(hint)[0]]  # type: ignore[misc]  # noqa: UP006
    if get_origin(hint) is dict:
        return Dict[get_args(hint)]  # type: ignore[misc]  # noqa: UP006
    if isinstance(hint, types.UnionType):
        return Optional[get_args(hint)[0]]  # noqa: UP045
    return hint
