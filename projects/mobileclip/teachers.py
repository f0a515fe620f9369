"""Teachers: models whose features of pictures and captions are stored or distilled."""

from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.checkpoint.foreign.open_clip_models import OpenClip
from corekit.checkpoint.model_folder import load_weights, model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.data.jobs.manifest import sha256
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.build import build_model
from corekit.registry import declare_kind, register

declare_kind("teacher", "a model whose features of pictures and captions are stored")


class Teacher(nn.Module):
    """A model of both towers, else a CorekitError, with its own preprocessing and tokenizer."""

    model: Any  # encode_image and encode_text are no part of nn.Module

    def __init__(self, name: str, model: nn.Module, preprocess: Preprocess,
                 tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self.name, self.model, self.preprocess = name, model, preprocess
        if not hasattr(model, "encode_image") or not hasattr(model, "encode_text"):
            raise CorekitError(f"{name} holds a model without image and text features: it cannot "
                               "teach")
        if tokenizer is None:
            raise CorekitError(f"{name} has no tokenizer in its recipe: it cannot read captions")
        self.tokenizer = tokenizer

    def images(self, image: Tensor) -> Tensor:
        """float32 [B, D] of unit length, of normalised pictures [B, 3, size, size]."""
        return F.normalize(self.model.encode_image(image).float(), dim=-1)

    def texts(self, captions: list[str], device: torch.device) -> Tensor:
        """float32 [B, D] of unit length, of captions."""
        tokens = self.tokenizer(captions).to(device)
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1)


class TeacherEntry(Protocol):
    """The contract of kind ``teacher``; constructors read nothing and load nothing."""

    def identity(self) -> dict[str, object]:
        """What decides the features, as JSON, such as hashes of weights."""

    def load(self) -> Teacher:
        """The model in evaluation mode."""


@register("teacher", "model_folder")
class FolderTeacher:
    """A model that corekit trained or converted.

    Args:
        path: of a run, a checkpoint or a model folder.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def identity(self) -> dict[str, object]:
        """Hashes of weights, recipe and preprocessing; a CorekitError where one is missing."""
        folder = model_folder(self.path)
        Preprocess.load(folder / "preprocess.json")
        files = ("model.safetensors", "recipe.yaml", "preprocess.json")
        return {"name": self.path, "sha256": {name: sha256(folder / name) for name in files}}

    def load(self) -> Teacher:
        """The model in evaluation mode; without weights where torch's default device is ``meta``.

        Raises:
            CorekitError: it is not there, does not fit together, or cannot teach.
        """
        folder = model_folder(self.path)
        config = config_beside(folder)
        device = torch.empty(0).device  # meta, where only the wiring is checked
        model = build_model(config.model, config.seed, device)
        if device.type != "meta":
            load_weights(model, folder)
        tokenizer = config.data.tokenizer
        return Teacher(str(Path(self.path)), model, Preprocess.load(folder / "preprocess.json"),
                       None if tokenizer is None else tokenizer.build("tokenizer")).eval()


@register("teacher", "open_clip")
class OpenClipTeacher:
    """A model of open_clip, with the tokenizer it names.

    Args:
        model: open_clip's name for it, such as ``ViT-L-14``; or ``local-dir:FOLDER`` or
            ``hf-hub:OWNER/REPOSITORY``, which hold weights and preprocessing.
        pretrained: open_clip's tag of published weights, or a file of weights.
        preprocess: size, interpolation, mean and std, and perhaps resize_mode, where nothing else
            tells them, as for most files.
    """

    def __init__(self, model: str, pretrained: str | None = None,
                 preprocess: dict[str, object] | None = None) -> None:
        self.source, self.preprocess = OpenClip(model, pretrained, hub=True), preprocess

    def identity(self) -> dict[str, object]:
        """Hashes of the weights, downloaded if need be; a CorekitError where there are none."""
        self.source.wanted(self.preprocess)  # raises where it is wrong or missing
        return self.source.identity()

    def load(self) -> Teacher:
        """The model in evaluation mode."""
        return Teacher(f"open_clip's {self.source.model}", self.source.load(),
                       self.source.wanted(self.preprocess), self.source.tokenizer())
