"""Trained models back from disk: a run, one of its checkpoints, or a model folder."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from corekit.data.preprocess import Preprocess
from corekit.engine.build import build_model, build_tokenizer
from corekit.engine.folders import load_weights, model_folder


def load(path: str | Path) -> tuple[nn.Module, Preprocess, Any]:
    """A trained model in evaluation mode, its preprocessing, and its tokenizer (None where it has none).

    Args:
        path: a run directory, a checkpoint, or a model folder.

    Returns:
        the model on the CPU; PIL image -> float32 [3, H, W]; string or list of strings -> int64 [n, L].

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    import torch

    folder = model_folder(path)
    recipe = OmegaConf.to_container(OmegaConf.load(folder / "recipe.yaml"))
    assert isinstance(recipe, dict)
    plain = {str(key): value for key, value in recipe.items()}
    model = build_model(plain, torch.device("cpu"))
    load_weights(model, folder)
    return model.eval(), Preprocess.load(folder / "preprocess.json"), build_tokenizer(plain)
