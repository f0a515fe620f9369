"""Where a model starts: weights from elsewhere."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from corekit.checkpoint.model_folder import model_folder
from corekit.checkpoint.new_head import NewHead
from corekit.errors import CorekitError
from corekit.models.freeze import matching
from corekit.models.text_tower import open_clip_names
from corekit.recipes.saved import load_config

SHOWN = 12  # names in a message


def start_from(model: nn.Module, path: str | None, exclude: list[str], rename: dict[str, str],
               new_head: NewHead | None = None) -> list[str]:
    """Fill a model with weights from elsewhere; every tensor of either side matches or is excluded.

    A tensor of another shape is an error, unless the module that it belongs to has a method
    ``refit(name, value)``, given the tensor's own name and what the file has, which makes one of
    the right shape of it: a position table for another size of image. It gives None where it
    cannot.

    Args:
        model: filled in place; nothing is changed where something does not fit.
        path: a run, a checkpoint, a model folder, or a ``.safetensors`` file; None: the random
            weights stay.
        exclude: patterns of names, of tensors of the model that stay as they are and of tensors of
            the file that are left out.
        rename: how names begin in the file -> how they begin in the model; the longest beginning
            counts. Where all fits, beginnings may be left over: those of another kind of file.
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
    file = Path(path) if path.endswith(".safetensors") else model_folder(path) / "model.safetensors"
    try:
        loaded = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CorekitError(f"init.path={path} cannot be read: {error}") from None
    own = model.state_dict()
    older = {old: name for name, old in open_clip_names(own).items()}
    names = {name: _renamed(name, rename) for name in loaded}
    tensors = {older.get(names[name], names[name]): value for name, value in loaded.items()}
    if len(tensors) < len(loaded):
        twice = [name for name in loaded
                 if sum(_renamed(other, rename) == _renamed(name, rename) for other in loaded) > 1]
        raise CorekitError(f"init.rename gives {' and '.join(twice[:2])} of {file} the same name")
    if new_head is not None:
        beside = file.with_name("recipe.yaml")
        tensors = new_head(tensors, own, load_config(beside) if beside.is_file() else None, file)
    excluded = {name for pattern in exclude
                for name in matching(pattern, [*own, *tensors], "init.exclude")}
    missing = [name for name in own if name not in tensors and name not in excluded]
    left_over = [name for name in tensors if name not in own and name not in excluded]
    both = [name for name in own if name in tensors and name not in excluded]
    loaded_shapes = {name: tensors[name].shape for name in both}
    tensors.update({name: _refitted(model, name, tensors[name], own[name]) for name in both
                    if loaded_shapes[name] != own[name].shape})
    shapes = [f"{name} is {list(tensors[name].shape)} there and {list(own[name].shape)} here"
              for name in both if tensors[name].shape != own[name].shape]
    problems = [f"{len(names)} {what}: "
                f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
                for names, what in ((missing, "tensors of the model are not in the file"),
                                    (left_over, "tensors of the file are not in the model"),
                                    (shapes, "shapes differ")) if names]
    if problems:
        idle = [beginning for beginning in rename
                if not any(name.startswith(beginning) for name in loaded)]
        beginnings = ", ".join(sorted({name.split(".")[0] for name in loaded})[:SHOWN])
        advice = (f", of which no name in {file} begins with '{idle[0]}'; they begin with "
                  f"{beginnings}" if idle else "")
        raise CorekitError(f"init.path={path} does not fit: {'; '.join(problems)}. Name what is to "
                           "stay random or be left out in init.exclude, and what is called "
                           f"otherwise in init.rename{advice}")
    with torch.no_grad():
        for name in both:
            own[name].copy_(tensors[name])
    return [f"{name} stretched from {list(shape)}, as it is in {file}, to {list(own[name].shape)}"
            for name, shape in loaded_shapes.items() if shape != own[name].shape]


def _refitted(model: nn.Module, name: str, value: Tensor, own: Tensor) -> Tensor:
    """A tensor of another shape, refitted by the module it belongs to where that is possible."""
    path, _, last = name.rpartition(".")
    refit = getattr(model.get_submodule(path), "refit", None)
    fitted: Tensor | None = refit(last, value.float()) if refit is not None else None
    return value if fitted is None or fitted.shape != own.shape else fitted


def _renamed(name: str, rename: dict[str, str]) -> str:
    beginning = max((known for known in rename if name.startswith(known)), key=len, default="")
    return rename[beginning] + name.removeprefix(beginning) if beginning else name
