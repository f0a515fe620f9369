"""Where a model starts: weights from elsewhere."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from corekit.checkpoint.initial.new_head import NewHead
from corekit.checkpoint.model_folder import model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.freeze import matching
from corekit.models.text_tower import open_clip_names

State = dict[str, Tensor]
SHOWN = 12  # names in a message


def start_from(model: nn.Module, path: str | None, exclude: Sequence[str],
               rename: Mapping[str, str], new_head: NewHead | None = None) -> list[str]:
    """Fill a model with weights from elsewhere; every tensor of either side matches or is excluded.

    A tensor of another shape is an error, unless the module that it belongs to has a method
    ``refit(name, value)``. It makes one of the right shape of the file's, such as a position table
    for another size of image, or gives None.

    Args:
        model: filled in place; nothing is changed where something does not fit.
        path: a run, a checkpoint, a model folder, or a ``.safetensors`` file; None: the random
            weights stay.
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
    file, loaded = _read_weights(path)
    own = model.state_dict()
    older = {old: name for name, old in open_clip_names(own).items()}
    names = {name: _renamed(name, rename) for name in loaded}
    weights = {older.get(names[name], names[name]): value for name, value in loaded.items()}
    if len(weights) < len(loaded):
        counts = Counter(names.values())
        doubled = [name for name in loaded if counts[names[name]] > 1]
        raise CorekitError(f"init.rename gives {' and '.join(doubled[:2])} of {file} the same name")
    if new_head is not None:
        trained_as = (config_beside(file.parent) if file.with_name("recipe.yaml").is_file()
                      else None)
        weights = new_head(weights, own, trained_as, file)
    excluded = {name for pattern in exclude
                for name in matching(pattern, [*own, *weights], "init.exclude")}
    both = [name for name in own if name in weights and name not in excluded]
    shapes = {name: weights[name].shape for name in both}
    for name in both:
        if shapes[name] != own[name].shape:
            weights[name] = _refitted(model, name, weights[name], own[name])
    problems = _problems(own, weights, excluded)
    if problems:
        raise CorekitError(f"init.path={path} does not fit: {problems}. Name what is to stay "
                           "random or be left out in init.exclude, and what is called otherwise "
                           f"in init.rename{_idle_renames(rename, loaded, file)}")
    with torch.no_grad():
        for name in both:
            own[name].copy_(weights[name])
    return [f"{name} stretched from {list(shape)}, as it is in {file}, to {list(own[name].shape)}"
            for name, shape in shapes.items() if shape != own[name].shape]


def _weights_file(path: str) -> Path:
    return (Path(path) if path.endswith(".safetensors")
            else model_folder(path) / "model.safetensors")


def _read_weights(path: str) -> tuple[Path, State]:
    """The file of weights that a path stands for, and what is in it."""
    try:
        file = _weights_file(path)
        return file, load_file(file)
    except CorekitError as error:
        raise CorekitError(f"init.path: {error}; set init.path to a run, a checkpoint, a model "
                           "folder or a .safetensors file") from None
    except (OSError, SafetensorError) as error:
        raise CorekitError(f"init.path={path} cannot be read: {error}") from None


def preprocess_beside(path: str) -> Preprocess | None:
    """The preprocessing that lies beside the weights of ``start_from``, if there is one."""
    file = _weights_file(path).with_name("preprocess.json")
    return Preprocess.load(file) if file.is_file() else None


def _problems(own: State, weights: State, excluded: Collection[str]) -> str:
    """What is missing, left over, or of another shape; '' where all fits."""
    missing = [name for name in own if name not in weights and name not in excluded]
    left_over = [name for name in weights if name not in own and name not in excluded]
    shapes = [f"{name} is {list(weights[name].shape)} there and {list(value.shape)} here"
              for name, value in own.items() if name in weights and name not in excluded
              and weights[name].shape != value.shape]
    named = ((missing, "tensors of the model are not in the file"),
             (left_over, "tensors of the file are not in the model"), (shapes, "shapes differ"))
    return "; ".join(f"{len(names)} {what}: {', '.join(names[:SHOWN])}"
                     f"{', ...' if len(names) > SHOWN else ''}" for names, what in named if names)


def _idle_renames(rename: Mapping[str, str], loaded: State, file: Path) -> str:
    """A clause on a beginning that no name of the file has; '' where all are used."""
    idle = [beginning for beginning in rename
            if not any(name.startswith(beginning) for name in loaded)]
    if not idle:
        return ""
    begins = sorted({name.split(".")[0] for name in loaded})[:SHOWN]
    return (f", of which no name in {file} begins with '{idle[0]}'; they begin with "
            f"{', '.join(begins)}")


def _refitted(model: nn.Module, name: str, value: Tensor, own: Tensor) -> Tensor:
    """A tensor of another shape, refitted by the module it belongs to where that is possible."""
    path, _, last = name.rpartition(".")
    refit = getattr(model.get_submodule(path), "refit", None)
    refitted: Tensor | None = refit(last, value.float()) if refit is not None else None
    return value if refitted is None or refitted.shape != own.shape else refitted


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    beginnings = [known for known in rename if name.startswith(known)]
    if not beginnings:
        return name
    beginning = max(beginnings, key=len)
    return rename[beginning] + name.removeprefix(beginning)
