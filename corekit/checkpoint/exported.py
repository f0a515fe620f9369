"""Exported folders, and the ONNX files in them as modules that evaluation runs like any other."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from corekit.checkpoint.model_folder import EXPORT, brief
from corekit.errors import CorekitError
from corekit.models.clip import CLIP, ImageEncoder


def is_exported(folder: Path) -> bool:
    """Whether ``corekit export`` wrote this folder."""
    return (folder / EXPORT).is_file()


def load_exported(folder: Path) -> nn.Module:
    """The model of an exported ONNX folder.

    It is a ``CLIP``, an ``ImageEncoder``, or a module from images to a dict. Files of torch.export
    are refused: ``torch.export.load`` falls back to unpickling, for one on the example inputs in
    the file, so that one from outside can run any code (tried with torch 2.15: it does).
    """
    try:
        content = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
        kind, files, scale = content["format"], content["files"], content["logit_scale"]
        scale = 1.0 if scale is None else float(scale)
    except (ValueError, KeyError, TypeError) as error:
        raise CorekitError(
            f"{folder / EXPORT} is none that corekit export wrote: {error!r}") from None
    if kind != "onnx":
        raise CorekitError(f"{folder} holds programs of torch.export, whose loading unpickles, and "
                           "corekit unpickles nothing: export with --format onnx, or call "
                           "torch.export.load yourself on files that you trust")
    if "boxes" in files.get("model.onnx", {}):
        return OnnxDetector(folder / "model.onnx").eval()
    if "image.onnx" not in files:
        return OnnxProgram(folder / "model.onnx").eval()
    image = OnnxTower(folder / "image.onnx")
    if "text.onnx" not in files:
        return ImageEncoder(image).eval()
    return CLIP(image, OnnxTower(folder / "text.onnx"), scale).eval()


class OnnxProgram(nn.Module):
    """An ONNX file run by onnxruntime on the CPU: a batch of its one input to outputs by name.

    A file for batches of N samples gets N at a time, the last ones filled up; outputs are on the
    input's device.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise CorekitError(
                "running ONNX files needs onnxruntime: pip install 'corekit[export]'") from None
        options, providers = onnxruntime.SessionOptions(), ["CPUExecutionProvider"]
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's have no ancestor of their own
            raise CorekitError(f"{path} cannot be run: {brief(error)}") from None
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]
        size = self.session.get_inputs()[0].shape[0]  # a name where it is dynamic
        self.batch: int | None = size if isinstance(size, int) else None

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        pieces: list[list[Tensor]] = []  # of every output
        for piece in torch.split(samples, self.batch or len(samples)):
            padding = piece[-1:].expand((self.batch or len(piece)) - len(piece), *piece.shape[1:])
            array = torch.cat([piece, padding]).detach().cpu().numpy()
            pieces.append(list(map(torch.from_numpy, self.session.run(None, {self.input: array}))))
        outputs = [torch.cat(values)[:len(samples)] for values in zip(*pieces, strict=True)]
        return {name: value.to(samples.device)
                for name, value in zip(self.outputs, outputs, strict=True)}


class OnnxTower(OnnxProgram):
    """An ONNX file with one output, as a tower: a batch to features [B, D]."""

    def forward(self, samples: Tensor) -> Tensor:  # type: ignore[override]
        (features,) = super().forward(samples).values()
        return features


class OnnxDetector(OnnxProgram):
    """An ONNX file that gives the objects in one picture, as a model that detects."""

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        """The objects in one picture, [1, 3, H, W]."""
        outputs = self.session.run(None, {self.input: samples.detach().cpu().numpy()})
        return {name: torch.from_numpy(value).to(samples.device)
                for name, value in zip(self.outputs, outputs, strict=True)}

    def detect(self, image: Tensor | list[Tensor]) -> list[dict[str, Tensor]]:
        """The objects in each picture [3, H, W] of the size that the file is for."""
        return [self(each[None]) for each in image]
