"""Weights in other people's layouts, in and out: files to model folders and back.

What a layout is belongs to the project whose models it holds: entries of kind ``converter``
(``Converter`` below). This module reads and writes files, asks the converters, and makes model
folders.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from corekit import registry
from corekit.checkpoint.foreign.open_clip_models import CONFIG as OPEN_CLIP_CONFIG
from corekit.checkpoint.foreign.open_clip_models import OpenClip
from corekit.checkpoint.llava.read import is_llava, read_llava
from corekit.checkpoint.llava.write import write_llava
from corekit.checkpoint.load import load
from corekit.checkpoint.model_folder import fill, model_folder, save_model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.checkpoint.portable import save_tokenizer
from corekit.checkpoint.preprocessor_config import read_preprocessor
from corekit.checkpoint.read_state import State, read_state
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.files import replacing
from corekit.models.build import build_model
from corekit.models.fusion import reparameterize
from corekit.models.multimodal.multimodal import Multimodal
from corekit.recipes.saved import fused as fused_recipe
from corekit.recipes.saved import load_plain
from corekit.recipes.schema import EntryConfig, ModelConfig, Plain

PICKLED = (".pt", ".pth", ".bin")
NO_LAYOUT = ("no other library has a class for it; `corekit export` writes it as ONNX, or with "
             "--format torch as .pt2, for programs without corekit")
PREPROCESSOR = "preprocessor_config.json"  # what transformers' image processors save beside weights


@dataclass(frozen=True)
class Converted:
    """What a converter makes of a file: weights under corekit's names, and parts of a recipe."""

    weights: State  # as the model's ``state_dict`` has them
    arguments: Plain  # of the model's constructor, where they are not its defaults
    preprocess: Preprocess  # what the weights want pictures to be like
    tokenizer: Plain  # the recipe's node; empty for a model without text
    notes: list[str] = field(default_factory=list)  # sentences: what was filled in or assumed
    assumed: str | None = None  # a note on ``preprocess``, for a file without one beside it


class Converter(Protocol):
    """The contract of kind ``converter``: the published layouts of the models of one project."""

    def detect(self, state: State) -> list[str]:
        """The registered models that these weights fit: none, one, or several with equal keys."""

    def load(self, state: State, name: str) -> Converted:
        """The weights under the model's names; a CorekitError where names or shapes differ."""

    def layouts(self, name: str) -> list[str]:
        """The layouts in which it can write that model; none where it does not know it."""

    def save(self, weights: State, name: str, layout: str) -> State:
        """The model's weights in a layout; a CorekitError where the layout cannot hold them."""


@runtime_checkable
class ConverterWithRemarks(Protocol):
    """A converter that knows what code of its layouts makes of weights that the model does not."""

    def remarks(self, model: ModelConfig, weights: State, saved: State, layout: str) -> list[str]:
        """Sentences on that, for weights and what was saved of them; none where all is equal."""


def convert_in(source: Path, target: Path, name: str | None = None,
               fused: bool = False) -> tuple[str, list[str]]:
    """Make a model folder of a file of weights in a known layout, or of a corekit folder, fused.

    The file is ``.safetensors``, or torch's own (tensors and plain values only: nothing else is
    unpickled), of the model that is named, or whose keys it has. A folder of transformers' Llava
    becomes a model ``multimodal``. Returns the model's name, and sentences about what was filled
    in.
    """
    if target.exists():
        raise CorekitError(f"{target} is there already; name a folder that is not")
    if is_llava(source) and not fused and name is None:
        return _llava_in(source, target)
    if source.is_dir():
        if not fused:
            raise CorekitError(f"{source} is a folder: name a file of weights in it to make a "
                               "model folder of; a run or model folder is written in another "
                               "layout with --to, and fused with --fuse")
        folder = model_folder(source)
        recipe = load_plain(folder / "recipe.yaml")
        model = config_beside(folder).model
        preprocess = Preprocess.load(folder / "preprocess.json")
        weights, notes = load_file(folder / "model.safetensors"), list[str]()
    else:
        name, converted = _read_foreign(source, name)
        converted = _with_preprocessing(converted, source.parent)
        model = ModelConfig(name, converted.arguments)
        preprocess, weights, notes = converted.preprocess, converted.weights, converted.notes
        recipe = {"model": model.to_plain(), "seed": 0,
                  "data": {"preprocess": _plain_values(preprocess),
                           "tokenizer": converted.tokenizer}}
    if fused:
        weights, recipe = _fused(weights, model), fused_recipe(recipe)
    with replacing(target) as folder:
        save_model_folder(folder, weights, recipe, preprocess)
    return model.name, notes


def convert_out(source: Path, target: Path, layout: str) -> tuple[str, list[str]]:
    """Write the weights of a run, a checkpoint or a model folder to a file, in another layout.

    The target is ``.safetensors``, or ``.pt``, ``.pth``, ``.bin`` for torch's own, and the layout
    one of those that the model's converter writes; a model ``multimodal`` becomes a folder of
    transformers' Llava. Returns the model's name, and sentences on what
    code of that layout computes otherwise. Raises a CorekitError where no model is there, or no
    converter writes it in that layout.
    """
    if target.exists():
        raise CorekitError(f"{target} is there already; name a file that is not")
    folder = model_folder(source)
    if config_beside(folder).model.name == "multimodal":
        return "multimodal", _llava_out(folder, target, layout)
    if target.suffix not in (*PICKLED, ".safetensors"):
        raise CorekitError(f"{target} must end in .safetensors, or in {', '.join(PICKLED)} for "
                           "torch's own files")
    model: EntryConfig = config_beside(folder).model
    while (inner := model.inner("model")) is not None:  # one around another has its names
        model = inner
    name = model.name
    weights = load_file(folder / "model.safetensors")
    known = {each: converter for converter in _converters() for each in converter.layouts(name)}
    if layout not in known:
        layouts = f"there are {', '.join(sorted(known))}" if known else NO_LAYOUT
        raise CorekitError(f"model '{name}' cannot be written in the layout '{layout}': {layouts}")
    _check_resize(folder)
    converter = known[layout]
    saved = converter.save(weights, name, layout)
    state = {key: value.contiguous() for key, value in saved.items()}
    with replacing(target) as file:
        save_file(state, file) if target.suffix == ".safetensors" else torch.save(state, file)
    if not isinstance(converter, ConverterWithRemarks):
        return name, []
    return name, converter.remarks(ModelConfig(name, model.arguments), weights, state, layout)


def _llava_in(source: Path, target: Path) -> tuple[str, list[str]]:
    """Make a model folder of one of transformers' Llava."""
    llava = read_llava(source)
    own = build_model(llava.model, 0, torch.device("meta")).state_dict()
    check_state(llava.weights, own, "multimodal", "transformers")
    recipe = {"model": llava.model.to_plain(), "seed": 0,
              "data": {"preprocess": _plain_values(llava.preprocess),
                       "tokenizer": llava.recipe_of_tokenizer()}}
    with replacing(target) as folder:
        save_model_folder(folder, llava.weights, recipe, llava.preprocess)
        save_tokenizer(folder, llava.tokenizer)
    return "multimodal", []


def _llava_out(folder: Path, target: Path, layout: str) -> list[str]:
    """Write an encoder inside a language model as transformers' Llava, which is a folder."""
    if layout != "transformers":
        raise CorekitError(f"model 'multimodal' cannot be written in the layout '{layout}': there "
                           "is transformers")
    model, preprocess, tokenizer = load(folder)
    assert isinstance(model, Multimodal)
    return write_llava(model, preprocess, tokenizer, target)


def _plain_values(preprocess: Preprocess) -> Plain:
    return {**vars(preprocess), "mean": [*preprocess.mean], "std": [*preprocess.std]}


def _check_resize(folder: Path) -> None:
    """Refuse to write weights alone where pictures are to be resized in another way than usual."""
    file = folder / "preprocess.json"
    resize = Preprocess.load(file).resize if file.is_file() else "shortest"
    if resize != "shortest":
        raise CorekitError(f"the model in {folder} wants pictures with resize={resize}, which a "
                           "file of weights cannot say; where whoever loads it resizes so, put "
                           "resize: shortest into the preprocess.json of a copy of the folder")


def differences(state: State, expected: State, optional: str | None = None) -> list[str]:
    """Sentences on the missing, left-over and differently shaped tensors of a state, if any.

    Names that end in ``optional`` may be missing.
    """
    missing = [key for key in expected
               if key not in state and not (optional and key.endswith(optional))]
    left_over = [key for key in state if key not in expected]
    shapes = [f"{key} is {[*state[key].shape]} instead of {[*expected[key].shape]}"
              for key in expected if key in state and state[key].shape != expected[key].shape]
    return [f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for names, what in ((missing, "missing"), (left_over, "left over"),
                                (shapes, "of another shape")) if names]


def check_state(state: State, expected: State, name: str, layout: str,
                optional: str | None = None) -> None:
    """Raise a CorekitError where a file's weights are not those of a model in a layout."""
    if problems := differences(state, expected, optional):
        raise CorekitError(f"these weights, in {layout}'s layout, are not those of '{name}': "
                           f"{'; '.join(problems)}")


@lru_cache(maxsize=64)  # finding a model builds many, some tenths of a second each
def state_of(name: str, arguments: tuple[tuple[str, object], ...] = ()) -> State:
    """A registered model's own state, on the meta device."""
    with torch.device("meta"):
        model: nn.Module = registry.build("model", name, dict(arguments))
    return model.state_dict()


def _converters() -> list[Converter]:
    return [registry.build("converter", name) for name in registry.names("converter")]


def _read_foreign(source: Path, name: str | None) -> tuple[str, Converted]:
    state = read_state(source)
    if name is not None:
        registry.find("model", name)
        for converter in _converters():
            if converter.layouts(name):
                return name, converter.load(state, name)
        raise CorekitError(f"no converter knows the model '{name}'; `corekit list converters` "
                           "lists them")
    candidates = {each: converter for converter in _converters()
                  for each in converter.detect(state)}
    if len(candidates) == 1:
        name, converter = next(iter(candidates.items()))
        return name, converter.load(state, name)
    if candidates:
        raise CorekitError(f"{source} fits {', '.join(candidates)}, which no key tells apart: name "
                           "the one it is with --model")
    raise CorekitError(f"{source} fits no model that a converter knows ({len(state)} tensors, such "
                       f"as {', '.join(list(state)[:3])}); --model NAME says what differs from one")


def _with_preprocessing(converted: Converted, folder: Path) -> Converted:
    """The weights with the preprocessing that lies beside them, or a note of what is assumed."""
    preprocess, note = converted.preprocess, converted.assumed
    beside = next((folder / name for name in (PREPROCESSOR, OPEN_CLIP_CONFIG)
                   if (folder / name).is_file()), None)
    if beside is not None:
        preprocess = (read_preprocessor(beside, preprocess) if beside.name == PREPROCESSOR
                      else OpenClip(f"local-dir:{folder}").known_preprocess() or preprocess)
        note = f"preprocess.json has what {beside.name} beside the weights says"
    notes = [*converted.notes, *([note] if note else [])]
    return replace(converted, preprocess=preprocess, notes=notes)


def _fused(weights: State, config: ModelConfig) -> State:
    """The weights of a model after folding."""
    if "fused" not in registry.find("model", config.name).signature.names:
        raise CorekitError(f"model '{config.name}' has no fused form")
    model = build_model(config, 0, torch.device("cpu"))
    fill(model, weights, f"the weights of '{config.name}'")
    return dict(reparameterize(model.eval()).state_dict())
