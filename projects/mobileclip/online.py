"""Teachers that are asked while the student trains, for data without stored embeddings."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from corekit.data.preprocess import Preprocess
from corekit.engine.build import build_model, build_tokenizer
from corekit.engine.folders import load_weights, model_folder
from corekit.errors import CorekitError
from corekit.registry import register


class _Teacher(nn.Module):
    """One model folder: the model, and how it wants pictures and captions."""

    model: Any  # encode_image and encode_text are no part of nn.Module

    def __init__(self, path: str) -> None:
        super().__init__()
        folder = model_folder(path)
        recipe: Any = OmegaConf.to_container(OmegaConf.load(folder / "recipe.yaml"))
        device = torch.empty(0).device  # meta, where only the wiring is checked
        self.model = build_model(recipe, device)
        if device.type != "meta":
            load_weights(self.model, folder)
        if not hasattr(self.model, "encode_image") or not hasattr(self.model, "encode_text"):
            raise CorekitError(f"{Path(path)} holds a model without image and text features: it cannot teach")
        self.preprocess = Preprocess.load(folder / "preprocess.json")
        self.tokenizer = build_tokenizer(recipe)
        if self.tokenizer is None:
            raise CorekitError(f"{Path(path)} has no tokenizer in its recipe: it cannot read captions")

    def images(self, image: Tensor, levels: Tensor, student: Preprocess) -> Tensor:
        """Features of the student's images, of which ``levels`` are the pixels from 0 to 255."""
        if self.preprocess != student or levels.shape[-1] != self.preprocess.size:  # a step may have a size of its own
            if levels.shape[-1] != self.preprocess.size:
                levels = F.interpolate(levels, (self.preprocess.size, self.preprocess.size),
                                       mode=self.preprocess.interpolation, antialias=True).clamp(0, 255)
            image = self.preprocess.normalize(levels)
        features: Tensor = self.model.encode_image(image, normalize=True)
        return features

    def texts(self, captions: list[str], device: torch.device) -> Tensor:
        features: Tensor = self.model.encode_text(self.tokenizer(captions).to(device), normalize=True)
        return features


@register("model", "online_teachers")
class OnlineTeachers(nn.Module):
    """Trained models that say what they make of each batch; for ``frozen``, beside the loss ``reinforced_contrastive``.

    Each teacher sees the student's augmented picture, resized to its own size and normalised its own way, and reads the
    captions with its own tokenizer. Gives teacher_image_features, teacher_text_features and, where there are synthetic
    captions, teacher_synthetic_text_features: float32 [B, sum of the teachers' widths], in the order of the paths.

    Args:
        paths: of runs, checkpoints or model folders.
        preprocess: the student's, which the batch's images went through; the engine gives it.

    Raises:
        CorekitError: none is there, or it gives no features or has no tokenizer.
    """

    def __init__(self, paths: list[str], preprocess: Preprocess) -> None:
        super().__init__()
        if not paths:
            raise CorekitError("model 'online_teachers' needs paths: of at least one run or model folder")
        self.student = preprocess
        self.teachers = nn.ModuleList(map(_Teacher, paths))

    def forward(self, image: Tensor, caption: list[str], synthetic_caption: list[str] | None = None) -> dict[str, Tensor]:
        # The pixels are whole numbers again: what was subtracted and divided leaves errors of a millionth.
        std, mean = (image.new_tensor(values).view(1, 3, 1, 1) for values in (self.student.std, self.student.mean))
        levels = ((image * std + mean) * 255).round()
        teachers: list[Any] = list(self.teachers)
        found = {"teacher_image_features": [teacher.images(image, levels, self.student) for teacher in teachers]}
        for name, captions in (("text", caption), ("synthetic_text", synthetic_caption)):
            if captions is not None:
                found[f"teacher_{name}_features"] = [teacher.texts(captions, image.device) for teacher in teachers]
        return {name: torch.cat(features, 1) for name, features in found.items()}
