"""The weights at a place: of a run, a model folder, a file, or a folder of transformers."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from corekit.checkpoint.model_folder import brief, model_folder
from corekit.checkpoint.read_state import SHARDS, shard_files
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError

State = dict[str, Tensor]
WEIGHTS = "model.safetensors"


def read_weights(path: str, key: str) -> tuple[Path, State]:
    """The file of weights, or the index of several, that a path stands for, and what it holds.

    The files are mapped: a tensor is read when it is copied, and no second copy of it is held.

    Args:
        path: a run, a checkpoint, a model folder, a ``.safetensors`` file, or a folder with several
            of them and their index, as transformers writes it.
        key: of the recipe, for messages.

    Raises:
        CorekitError: nothing is there, or it cannot be read.
    """
    try:
        file = _weights_file(path)
        files = shard_files(file) if file.name.endswith(SHARDS) else [file]
    except CorekitError as error:
        raise CorekitError(f"{key}: {error}; set {key} to a run, a checkpoint, a model folder, a "
                           "folder of transformers or a .safetensors file") from None
    try:
        return file, {name: value for each in files for name, value in load_file(each).items()}
    except (OSError, SafetensorError) as error:
        raise CorekitError(f"{key}={path} cannot be read: {brief(error)}") from None


def preprocess_beside(path: str) -> Preprocess | None:
    """The preprocessing that lies beside the weights at a path, if there is one."""
    file = _weights_file(path).with_name("preprocess.json")
    return Preprocess.load(file) if file.is_file() else None


def _weights_file(path: str) -> Path:
    if path.endswith(".safetensors"):
        return Path(path)
    index = Path(path) / f"{WEIGHTS}{SHARDS}"
    return index if index.is_file() else model_folder(path) / WEIGHTS
