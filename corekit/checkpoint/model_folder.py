"""Model folders: weights, the recipe they come from, and the preprocessing they want."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.files import write_text
from corekit.recipes.schema import Node

EXPORT = "export.json"  # what an exported folder has instead of weights


def model_folder(path: str | Path) -> Path:
    """The model folder of a run directory, a checkpoint or itself; a CorekitError without one."""
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "model.safetensors").is_file():
            return folder
    what = "is no run and no model folder (model.safetensors, recipe.yaml, preprocess.json)"
    if (path / "recipe.yaml").is_file():
        what = "holds no complete checkpoint yet"
    elif not path.exists():
        what = "does not exist"
    raise CorekitError(f"{path} {what}")


def save_model_folder(folder: Path, weights: dict[str, Tensor], recipe: Node,
                      preprocess: Preprocess) -> None:
    """Write ``model.safetensors``, ``recipe.yaml`` and ``preprocess.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    save_recipe(folder / "recipe.yaml", recipe)
    preprocess.save(folder / "preprocess.json")


def save_recipe(path: Path, recipe: Node) -> None:
    """Write a resolved recipe; a reader sees the old file or the new one, never half of one."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(dict(recipe))))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model with a model folder's weights; a CorekitError where they do not fit."""
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CorekitError(f"{path} cannot be loaded: {brief(error)}") from None
    fill(model, weights, str(path))


def fill(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Fill a model with weights, strictly; a CorekitError names the file where they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CorekitError(f"{where} cannot be loaded: {brief(error)}") from None


def brief(error: Exception, length: int = 300) -> str:
    """The beginning of an error's text, on one line."""
    return " ".join(str(error).split())[:length]
