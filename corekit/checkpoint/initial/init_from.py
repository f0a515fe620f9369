"""Where a model starts: weights from elsewhere, for all of it or for each of its parts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from corekit.checkpoint.initial.names import (
    State,
    beginnings,
    below,
    idle_renames,
    listed,
    new_of_lora,
    problems,
    under_own_names,
)
from corekit.checkpoint.initial.new_head import NewHead
from corekit.checkpoint.initial.weights_file import read_weights
from corekit.checkpoint.own_runs import config_beside
from corekit.errors import CorekitError
from corekit.models.freeze import matching
from corekit.recipes.schema import InitPartConfig
from corekit.signatures import nearest


class Fit(NamedTuple):
    """What a module gets: for each of its tensors that is filled, one of the same shape."""

    own: State
    weights: State
    lines: list[str]  # about what was refitted or left


def start_from(model: nn.Module, path: str | None, exclude: Sequence[str],
               rename: Mapping[str, str], new_head: NewHead | None = None) -> list[str]:
    """Fill a model with weights from elsewhere; every tensor of either side matches or is excluded.

    A tensor of another shape is an error, unless the module that it belongs to has a method
    ``refit(name, value)``. It makes one of the right shape of the file's, such as a position table
    for another size of image, or gives None.

    Args:
        model: filled in place; nothing is changed where something does not fit.
        path: a run, a checkpoint, a model folder, a ``.safetensors`` file, or a folder of
            transformers; None: the random weights stay.
        exclude: patterns of tensors of the model that stay as they are, and of the file's that are
            left out.
        rename: how names begin in the file -> how they begin in the model; the longest beginning
            counts, and '' is every name's. Where all fits, beginnings may be left over: those of
            another kind of file.
        new_head: makes the head's rows of the file's; None: they are taken as they are.

    Returns:
        a line for each tensor that was refitted.

    Raises:
        CorekitError: nothing is there, names are left over on either side, shapes differ, or a
            pattern fits nothing.
    """
    if path is None:
        if new_head is not None:
            raise CorekitError("init.head makes a head of another one: give the weights that have "
                               "it, init.path=RUN")
        return []
    place = InitPartConfig(path, list(exclude), dict(rename))
    return _fill([_fit(model, place, "init", new_head=new_head)])


def start_parts(model: nn.Module, parts: Mapping[str, InitPartConfig]) -> list[str]:
    """Fill parts of a model, each with weights of its own place, as ``start_from`` fills a model.

    A file may hold a part under the part's own name among others, as a run of pre-training has
    ``encoder.*``. Where more names of the part fit so, these are taken, and a line names what is
    left: the part itself is complete.
    """
    return _fill([_fit(model.get_submodule(name), place, f"init.parts.{name}", name)
                  for name, place in parts.items()])


def check_parts(model: nn.Module, parts: Mapping[str, InitPartConfig]) -> None:
    """Refuse parts that the model does not have, or whose weights are there and do not fit.

    The model may be on the meta device.
    """
    for name, place in parts.items():
        key, names = f"init.parts.{name}", dict(model.named_modules())
        if not name or name not in names:
            children = ", ".join(child for child, _ in model.named_children())
            raise CorekitError(f"{key}: the model has no part '{name}'{nearest(name, names)}; it "
                               f"is made of {children}")
        if place.path is not None and Path(place.path).exists():
            _fit(names[name], place, key, name)


def _fit(module: nn.Module, place: InitPartConfig, key: str, part: str | None = None,
         new_head: NewHead | None = None) -> Fit:
    """What a module gets of the weights at a place; a CorekitError where something does not fit."""
    assert place.path is not None
    file, loaded = read_weights(place.path, f"{key}.path")
    own, lines = module.state_dict(), list[str]()
    weights = under_own_names(loaded, own, place.rename, key, file)
    names = [*own, *weights]
    inside = under_own_names(below(weights, part), own, {}, key, file) if part else {}
    if len(inside.keys() & own.keys()) > len(weights.keys() & own.keys()):
        others = [name for name in weights if not name.startswith(f"{part}.")]
        left = f"; {listed(beginnings(others))} of it is left" if others else ""
        lines.append(f"{part} starts from {part}.* of {file}{left}")
        weights = inside
    if new_head is not None:
        trained_as = (config_beside(file.parent) if file.with_name("recipe.yaml").is_file()
                      else None)
        weights = new_head(weights, own, trained_as, file)
    excluded = {name for pattern in place.exclude
                for name in matching(pattern, [*names, *weights], f"{key}.exclude")}
    excluded |= new_of_lora(own, weights)
    both = [name for name in own if name in weights and name not in excluded]
    for name in both:
        shape = weights[name].shape
        if shape != own[name].shape:
            weights[name] = _refitted(module, name, weights[name], own[name])
            lines.append(f"{name} stretched from {list(shape)}, as it is in {file}, to "
                         f"{list(own[name].shape)}")
    wrong = problems(own, weights, excluded)
    if wrong:
        raise CorekitError(f"{key}.path={place.path} does not fit: {wrong}. Name what is to stay "
                           f"random or be left out in {key}.exclude, and what is called otherwise "
                           f"in {key}.rename{idle_renames(place.rename, loaded, file)}")
    return Fit(own, {name: weights[name] for name in both}, lines)


def _fill(fits: Sequence[Fit]) -> list[str]:
    """Copy what fits, and give the lines about it."""
    with torch.no_grad():
        for fit in fits:
            for name, value in fit.weights.items():
                fit.own[name].copy_(value)
    return [line for fit in fits for line in fit.lines]


def _refitted(model: nn.Module, name: str, value: Tensor, own: Tensor) -> Tensor:
    """A tensor of another shape, refitted by the module it belongs to where that is possible."""
    path, _, last = name.rpartition(".")
    refit = getattr(model.get_submodule(path), "refit", None)
    refitted: Tensor | None = refit(last, value.float()) if refit is not None else None
    return value if refitted is None or refitted.shape != own.shape else refitted
