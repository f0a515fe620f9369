"""Models that detect as ONNX: one picture at a time, as many objects as it has."""

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from corekit.checkpoint.exported import OnnxDetector
from corekit.export.files import Program

OPSET = 16  # from which on RoIAlign is as torchvision's
OBJECTS = "objects"  # what the first dimension of outputs is called


class Detections(nn.Module):
    """``image`` [1, 3, H, W] to what the model's ``detect`` gives of it, without a list."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        detected: dict[str, Tensor] = self.model.detect(image)[0]  # type: ignore[operator]
        return detected


class _InOrder(Detections):
    """The same as a tuple, which is what tracing takes."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__(model)
        self.names = names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        detected = super().forward(image)
        return tuple(detected[name] for name in self.names)


def write_detector(model: nn.Module, example: Tensor, path: Path, outputs: list[str]) -> Program:
    """Write ONNX and load it in onnxruntime.

    By tracing, not by torch.export, which takes no numbers of objects that depend on the picture
    (tried with torch 2.14).
    """
    module = _InOrder(model, outputs).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of sizes that are constants here
        torch.onnx.export(module, (example,), path, dynamo=False, opset_version=OPSET,
                          input_names=["image"], output_names=outputs,
                          dynamic_axes={name: {0: OBJECTS} for name in outputs})
    return OnnxDetector(path)
