"""Which tensor of a file is which of a module, and what fits nowhere."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from corekit.errors import CorekitError
from corekit.models.text_tower import open_clip_names

State = dict[str, Tensor]
SHOWN = 12  # names in a message
WRAPPED = ".base_layer."  # what peft puts into the names of a layer that it adds LoRA to
LORA = re.compile(r"(^|\.)lora_")  # begins what is added there


def under_own_names(loaded: State, own: State, rename: Mapping[str, str], key: str,
                    file: Path) -> State:
    """A file's tensors under a module's names.

    Renamed are beginnings, names of an earlier corekit, and layers with LoRA around them.

    Raises:
        CorekitError: two tensors get the same name.
    """
    others = {old: name for name, old in open_clip_names(own).items()}
    others |= {name.replace(WRAPPED, "."): name for name in own if WRAPPED in name}
    names = {name: _renamed(name, rename) for name in loaded}
    weights = {others.get(names[name], names[name]): value for name, value in loaded.items()}
    if len(weights) < len(loaded):
        counts = Counter(names.values())
        doubled = [name for name in loaded if counts[names[name]] > 1]
        raise CorekitError(f"{key}.rename gives {' and '.join(doubled[:2])} of {file} the same "
                           "name")
    return weights


def below(loaded: State, part: str) -> State:
    """The tensors whose names lie below a part's, without that beginning."""
    return {name.removeprefix(f"{part}."): value for name, value in loaded.items()
            if name.startswith(f"{part}.")}


def new_of_lora(own: State, weights: State) -> set[str]:
    """What LoRA adds to a module, if the file has nothing of the kind."""
    if any(map(LORA.search, weights)) or not any(WRAPPED in name for name in own):
        return set()
    return {name for name in own if LORA.search(name)}


def problems(own: State, weights: State, excluded: Collection[str]) -> str:
    """What is missing, left over, or of another shape; '' where all fits.

    Of a tensor that has several names in the model, the file may have one.
    """
    filled = {_identity(value) for name, value in own.items() if name in weights}
    missing = [name for name, value in own.items()
               if name not in excluded and _identity(value) not in filled]
    left_over = [name for name in weights if name not in own and name not in excluded]
    shapes = [f"{name} is {list(weights[name].shape)} there and {list(value.shape)} here"
              for name, value in own.items() if name in weights and name not in excluded
              and weights[name].shape != value.shape]
    named = ((missing, "tensors of the model are not in the file"),
             (left_over, "tensors of the file are not in the model"), (shapes, "shapes differ"),
             (_apart(own, weights, excluded), "tensors are one in the model and differ in the "
                                              "file"))
    return "; ".join(f"{len(names)} {what}: {listed(names)}" for names, what in named if names)


def idle_renames(rename: Mapping[str, str], loaded: State, file: Path) -> str:
    """A clause on a beginning that no name of the file has; '' where all are used."""
    idle = [beginning for beginning in rename
            if not any(name.startswith(beginning) for name in loaded)]
    if not idle:
        return ""
    return (f", of which no name in {file} begins with '{idle[0]}'; they begin with "
            f"{listed(beginnings(loaded))}")


def beginnings(names: Iterable[str]) -> list[str]:
    """The first parts of names."""
    return sorted({name.split(".")[0] for name in names})


def listed(names: list[str]) -> str:
    """Names for a message; of many the first ones."""
    return f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"


def _apart(own: State, weights: State, excluded: Collection[str]) -> list[str]:
    """Names of one tensor of the model that have other values in the file than its first name."""
    first: dict[object, str] = {}
    several = [(name, first_name) for name, value in own.items()
               if name in weights and name not in excluded
               and (first_name := first.setdefault(_identity(value), name)) != name]
    return [name for name, first_name in several
            if not torch.equal(weights[name], weights[first_name])]


def _identity(value: Tensor) -> object:
    """The same for names of one tensor, such as an embedding that is the head's weight too."""
    return value.untyped_storage()._cdata, value.storage_offset(), value.shape


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    known = [beginning for beginning in rename if name.startswith(beginning)]
    if not known:
        return name
    beginning = max(known, key=len)
    return rename[beginning] + name.removeprefix(beginning)
