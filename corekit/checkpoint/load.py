"""Load trained models: corekit's own, exported ones, and those of open_clip and transformers."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from corekit.checkpoint.checksums import damaged_file
from corekit.checkpoint.exported import is_exported, load_exported
from corekit.checkpoint.foreign.find import find_foreign
from corekit.checkpoint.model_folder import load_weights, model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.checkpoint.portable import build_tokenizer
from corekit.data.jobs.manifest import sha256
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.build import build_model
from corekit.recipes.build import run_config
from corekit.recipes.schema import EvaluationConfig, ModelConfig, RunConfig


class Loaded(NamedTuple):
    """A trained model in evaluation mode, and all that is needed to run it."""

    model: nn.Module
    preprocess: Preprocess  # PIL image -> float32 [3, H, W]
    tokenizer: Tokenizer | None  # string or strings -> int64 [n, L]


def load(path: str | Path) -> Loaded:
    """A trained model on the CPU in evaluation mode, its preprocessing, and its tokenizer.

    Args:
        path: a run directory, a checkpoint, a model folder, a folder exported to ONNX, or what
            ``find_foreign`` takes for a model of another library.

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    return _load(path, config_of(path), torch.device("cpu"))


def config_of(path: str | Path) -> RunConfig:
    """The recipe beside the weights at a path, or the one that another library's model stands for.

    Raises:
        CorekitError: nothing is there.
    """
    foreign = find_foreign(path)
    return run_config(foreign.recipe()) if foreign else config_beside(trained_folder(path))


def load_for_evaluation(config: EvaluationConfig, folder: Path, device: torch.device) -> Loaded:
    """The model of ``checkpoint``, with the keys of its recipe that were changed.

    The preprocessing that was saved with corekit's weights counts, and another one is refused; for
    a model of another library the recipe's counts.

    Args:
        config: of the evaluation.
        folder: what ``place_of`` gives for the checkpoint, perhaps of an earlier moment of a run.
        device: where the model is put.

    Raises:
        CorekitError: nothing is there, or it does not fit together.
    """
    assert config.checkpoint is not None
    foreign = find_foreign(config.checkpoint)
    loaded = _load(config.checkpoint if foreign else folder, config, device)
    requested = Preprocess(**vars(config.data.preprocess))
    if loaded.preprocess != requested:
        raise CorekitError(f"data.preprocess asks for {requested}, but these weights were trained "
                           f"with {loaded.preprocess} ({folder}/preprocess.json): leave "
                           "data.preprocess out")
    return loaded


def _load(path: str | Path, config: RunConfig | EvaluationConfig, device: torch.device) -> Loaded:
    """What is at a path, as a recipe describes it."""
    folder = Path(path)
    if find_foreign(path):
        preprocess = Preprocess(**vars(config.data.preprocess))
        model = build_model(config.model, config.seed, device).eval()
    else:
        folder = trained_folder(path)
        preprocess = Preprocess.load(folder / "preprocess.json")
        model = load_model(config.model, config.seed, folder, device)
    return Loaded(model, preprocess, build_tokenizer(config.data.tokenizer, folder))


def place_of(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint's weights, or a name in the working directory for it.

    Records of evaluations lie beside it.
    """
    foreign = find_foreign(checkpoint)
    return foreign.place if foreign else trained_folder(checkpoint)


def identity(checkpoint: str | Path) -> dict[str, object]:
    """Hashes of the files that decide what a checkpoint's model computes: JSON, without places."""
    foreign = find_foreign(checkpoint)
    if foreign:
        return foreign.source().identity()
    folder = trained_folder(checkpoint)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".onnx")]
    return {"sha256": {path.name: sha256(path) for path in files}}


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
