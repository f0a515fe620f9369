"""Files of weights as people have them: what is around the tensors, and what is no such file."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from corekit.checkpoint.model_folder import brief
from corekit.errors import CorekitError

State = dict[str, Tensor]
# keys under which checkpoints keep their weights, the first there is
WRAPPERS = ("state_dict", "model", "model_state_dict", "module", "network", "net", "weights",
            "params", "checkpoint", "model_ema", "ema", "teacher", "student")
# of names: from data parallelism, torch.compile, and modules that hold the model, as Lightning's
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "model_ema.",
            "ema.", "teacher.", "student.")
SHARDS = ".index.json"  # the list of several files, as transformers writes it
NO_WEIGHTS = {b"version https://git-lfs": "a pointer of Git LFS, for `git lfs pull` to replace",
              b"<": "a page of the web, as a failed download leaves it", b"{": "JSON"}


def read_state(path: Path) -> State:
    """The tensors of a file of weights, without wrappers and common prefixes of their names.

    Raises:
        CorekitError: it is missing or damaged, holds more than tensors and plain values, or holds
            no weights, or several models'.
    """
    if not path.is_file():
        raise CorekitError(f"{path} does not exist")
    content = _load_shards(path) if path.name.endswith(SHARDS) else _load(path)
    while isinstance(content, Mapping):
        wrapped = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not wrapped:
            break
        if {"teacher", "student"} <= {*wrapped} and wrapped[0] == "teacher":
            raise CorekitError(f"{path} holds the weights of {' and '.join(wrapped)}: save the "
                               "one that is meant alone")
        content = content[wrapped[0]]
    if (not isinstance(content, Mapping) or not content
            or not all(isinstance(value, Tensor) for value in content.values())):
        holds = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no names"
        raise CorekitError(f"{path} holds no state_dict: a mapping of names to tensors, itself or "
                           f"under {' or '.join(WRAPPERS[:3])}; it has {holds[:200] or 'nothing'}")
    state = {str(key): value for key, value in content.items()}
    while prefix := next((each for each in PREFIXES if all(key.startswith(each) for key in state)),
                         None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _load(path: Path) -> object:
    """What a file holds, whatever it is called."""
    with open(path, "rb") as file:
        begin = file.read(64)
    is_safetensors = begin[8:9] == b"{"  # behind the length of its header
    what = "empty" if not begin else next(
        (what for start, what in NO_WEIGHTS.items() if begin.startswith(start)), None)
    if what is not None and not is_safetensors:
        raise CorekitError(f"{path} holds no weights: it is {what}")
    try:
        if is_safetensors or path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = "it is no file of weights" if isinstance(error, KeyError) else brief(error, 200)
        raise CorekitError(f"{path} cannot be read as weights: {reason}") from None
    except pickle.UnpicklingError:
        raise CorekitError(f"{path} holds more than tensors and plain values, or is no file of "
                           "weights, and corekit unpickles "
                           "nothing else: save its state_dict alone, or as .safetensors") from None


def shard_files(path: Path) -> list[Path]:
    """The files of weights that an index names, which lie beside it."""
    try:
        names = sorted({*json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()})
        files = [path.parent / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorekitError(f"{path} lists no files of weights: it has no weight_map") from None
    missing = next((file.name for file in files if not file.is_file()), None)
    if missing is not None:
        raise CorekitError(f"{path} names {missing}, which is not there: fetch all files")
    return files


def _load_shards(path: Path) -> object:
    """The tensors of all files that an index names."""
    state: dict[object, object] = {}
    for file in shard_files(path):
        part = _load(file)
        state.update(part if isinstance(part, Mapping) else {})
    return state
