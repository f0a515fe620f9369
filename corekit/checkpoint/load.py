"""Load trained models from a run, a checkpoint, a model folder, or an exported folder."""

from pathlib import Path

import torch
from torch import nn

from corekit.checkpoint.checksums import damaged_file
from corekit.checkpoint.exported import is_exported, load_exported
from corekit.checkpoint.model_folder import load_weights, model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.build import build_model
from corekit.recipes.schema import ModelConfig


def load(path: str | Path) -> tuple[nn.Module, Preprocess, Tokenizer | None]:
    """A trained model in evaluation mode, its preprocessing, and its tokenizer, if it has one.

    Args:
        path: a run directory, a checkpoint, a model folder, or a folder exported to ONNX.

    Returns:
        the model on the CPU; PIL image -> float32 [3, H, W]; string or strings -> int64 [n, L].

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    folder = trained_folder(path)
    config = config_beside(folder)
    model = load_model(config.model, config.seed, folder, torch.device("cpu"))
    tokenizer = config.data.tokenizer.build("tokenizer") if config.data.tokenizer else None
    return model, Preprocess.load(folder / "preprocess.json"), tokenizer


def trained_folder(path: str | Path) -> Path:
    """The exported folder or the model folder at a path; a CorekitError where there is none."""
    return Path(path) if is_exported(Path(path)) else model_folder(path)


def load_model(config: ModelConfig, seed: int, folder: Path, device: torch.device) -> nn.Module:
    """A model with the weights of a folder, or the exported one, if it is the recipe's."""
    if is_exported(folder):
        if config != config_beside(folder).model:
            raise CorekitError(f"{folder} is exported, and its model is what it is: leave model.* "
                               "out")
        return load_exported(folder)
    name = damaged_file(folder.resolve().parent, below=f"{folder.resolve().name}/")
    if name is not None:
        raise CorekitError(f"{folder.resolve().parent / name} is damaged: it is not what was "
                           "written; take another checkpoint of the run, or a whole copy")
    model = build_model(config, seed, device)
    load_weights(model, folder)
    return model.eval()
