"""Models for other programs: each tower a file of ONNX or torch.export, checked when written."""

import json
import random
import shutil
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.checkpoint.exported import is_exported
from corekit.checkpoint.load import load
from corekit.checkpoint.model_folder import EXPORT, model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.data.tokenizers.base import Tokenizer
from corekit.errors import CorekitError
from corekit.export.detector import OBJECTS, Detections, write_detector
from corekit.export.files import BATCH, Program, check_packages, trace, write_onnx, write_torch
from corekit.files import replacing
from corekit.models.clip import MAX_LOGIT_SCALE
from corekit.models.fusion import reparameterize
from corekit.recipes.schema import ModelConfig
from corekit.wiring import model_wiring, rename_outputs

# between a file's outputs and the model's; of the largest output where that is above 1
TOLERANCE = 1e-4
SEVERAL = 5  # samples of the larger batch that a file for any batch is checked with


@dataclass(frozen=True)
class ExportedTower:
    """One exported file: a module of one input, that input's name, and random samples of it."""

    wrap: Callable[[nn.Module], nn.Module]
    input: str
    sample: Callable[[int], Tensor]


class PartOfModel(nn.Module):
    """What one file computes of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Tower(PartOfModel):
    """``image`` or ``text`` to ``image_features`` or ``text_features`` [B, D] of unit length."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__(model)
        self.kind = kind

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        features: Tensor = getattr(self.model, f"encode_{self.kind}")(samples)
        return {f"{self.kind}_features": F.normalize(features.float(), dim=-1)}


class Forward(PartOfModel):
    """A model's forward pass of ``image`` [B, 3, H, W], with outputs under the recipe's names."""

    def __init__(self, model: nn.Module, config: ModelConfig) -> None:
        super().__init__(model)
        self.config = config

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = model_wiring(self.config, self.model)({"image": image})
        # a head too wide for its output gives the parts that it is made of
        return {name: value if isinstance(value, Tensor) else value.dense()
                for name, value in rename_outputs(outputs, self.config.outputs).items()}


def export_model(source: Path, target: Path, form: str,
                 batch: int | None = None) -> dict[str, float]:
    """Write a run, a checkpoint or a model folder as folded fp32 files for other programs.

    A model with ``encode_image`` (and ``encode_text``) gives ``image`` (and ``text``), another one
    ``model``, its forward. Beside them are ``recipe.yaml`` and ``preprocess.json`` as they were,
    and ``export.json``: format, batch, the scale of similarities, and what each file takes and
    gives.

    Args:
        form: onnx (``.onnx``), or torch for torch.export (``.pt2``).
        batch: how many samples the files take at a time; None: any number.

    Returns:
        file -> largest difference of its outputs from the trained model's, on random inputs.
    """
    if target.exists():
        raise CorekitError(f"{target} is there already; name a folder that is not")
    if batch is not None and batch < 1:
        raise CorekitError(f"--batch {batch}: a batch has at least one sample")
    if is_exported(source):
        raise CorekitError(f"{source} is exported already: name the run or model folder that it "
                           "was made of")
    folder = model_folder(source)
    if form == "onnx":
        check_packages()
    model, preprocess, tokenize = load(folder)
    detects = hasattr(model, "detect")
    if detects:
        batch = _batch_of_detector(form, batch)
    parts = _parts(model, config_beside(folder).model, preprocess.size, tokenize)
    folded = reparameterize(model)
    write, suffix = (write_onnx, ".onnx") if form == "onnx" else (write_torch, ".pt2")
    # what similarities are multiplied by, where the model learns it (CLIP: as a logarithm)
    scale: nn.Parameter | None = getattr(model, "logit_scale", None)
    content = {"format": form, "batch": batch, "logit_scale": (
        None if scale is None else min(float(scale.exp()), MAX_LOGIT_SCALE))}
    files, differences = {}, {}
    with torch.no_grad(), replacing(target) as writing:
        writing.mkdir()
        for name, part in parts.items():
            file, example, expected = name + suffix, part.sample(batch or 2), part.wrap(model)
            outputs = expected(example)
            files[file] = _interface({part.input: example}, batch or BATCH) | _interface(
                outputs, OBJECTS if detects else batch or BATCH)
            doc = "; ".join(f"{key}: {value}" for key, value in files[file].items())
            program = (write_detector(folded, example, writing / file, list(outputs)) if detects
                       else write(trace(part.wrap(folded), example, dynamic=batch is None),
                            writing / file, part.input, list(outputs), doc))
            differences[file] = max(_difference(program, expected, part.sample(size), file)
                                    for size in ([batch] if batch else [1, SEVERAL]))
        for name in ("recipe.yaml", "preprocess.json"):
            shutil.copyfile(folder / name, writing / name)
        text = json.dumps({**content, "files": files}, indent=2)
        (writing / EXPORT).write_text(text + "\n", encoding="utf-8")
    return differences


def _batch_of_detector(form: str, batch: int | None) -> int:
    """1, all that a file of a model with ``detect`` takes; a CorekitError for anything else."""
    if form != "onnx":
        raise CorekitError("a model that detects is exported as ONNX alone: torch.export takes no "
                           "number of objects that depends on the picture")
    if batch not in (None, 1):
        raise CorekitError(f"--batch {batch}: a model that detects takes one picture at a time")
    return 1


def _parts(model: nn.Module, config: ModelConfig, size: int,
           tokenize: Tokenizer | None) -> dict[str, ExportedTower]:
    """The files of a model, by name: its towers, or its forward."""
    draw, generator = random.Random(0), torch.Generator().manual_seed(0)

    def images(count: int) -> Tensor:
        return torch.randn(count, 3, size, size, generator=generator)

    def captions(count: int) -> Tensor:
        words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(1, 9)))
                 for _ in range(100)]
        assert tokenize is not None
        return tokenize([" ".join(draw.choices(words, k=draw.randint(1, 40)))
                         for _ in range(count)])

    if hasattr(model, "detect"):
        return {"model": ExportedTower(Detections, "image", images)}
    if not hasattr(model, "encode_image"):
        missing = model_wiring(config, model).missing(["image"])
        if missing:
            raise CorekitError(f"model '{config.name}' has no encode_image, and its forward needs "
                               f"{', '.join(missing)}: models with encode_image are exported, or "
                               "that need no more than image")
        return {"model": ExportedTower(partial(Forward, config=config), "image", images)}
    parts = {"image": ExportedTower(partial(Tower, kind="image"), "image", images)}
    if hasattr(model, "encode_text"):
        if tokenize is None:
            raise CorekitError(f"model '{config.name}' has encode_text, but its recipe no "
                               "data.tokenizer, which says how long captions are")
        parts["text"] = ExportedTower(partial(Tower, kind="text"), "text", captions)
    return parts


def _interface(tensors: dict[str, Tensor], rows: int | str) -> dict[str, str]:
    """What a file takes and gives, for people: name -> dtype, shape, meaning."""
    meaning = {"image": ", prepared as preprocess.json says",
               "text": ", ids of the recipe's tokenizer", "image_features": ", of unit length",
               "text_features": ", of unit length"}
    interface = {}
    for name, value in tensors.items():
        shape = str([rows, *value.shape[1:]]).replace("'", "")
        dtype = str(value.dtype).removeprefix("torch.")
        interface[name] = f"{dtype} {shape}{meaning.get(name, '')}"
    return interface


def _difference(program: Program, expected: nn.Module, samples: Tensor, name: str) -> float:
    """The largest difference of a file's outputs from a module's; an error above the tolerance."""
    outputs, largest = program(samples), 0.0
    for key, value in expected(samples).items():
        if outputs[key].shape != value.shape:
            raise CorekitError(f"{name} gives {len(outputs[key])} {key}, and the model "
                               f"{len(value)}: it was not kept")
        if not value.numel():  # nothing is detected
            continue
        difference = float((outputs[key] - value).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(value.abs().max())):  # nan too
            raise CorekitError(f"{name} gives {key} {difference:.1e} away from the model's for a "
                               f"batch of {len(samples)}, more "
                               f"than {TOLERANCE:.0e}: it was not kept")
        largest = max(largest, difference)
    return largest
