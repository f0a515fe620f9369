"""A folder of transformers' LlavaForConditionalGeneration as a model ``multimodal``."""

import json
from pathlib import Path
from typing import NamedTuple

from corekit.checkpoint.initial.names import below
from corekit.checkpoint.initial.weights_file import read_weights
from corekit.checkpoint.llava.layout import State, vision_converters
from corekit.checkpoint.portable import TOKENIZER
from corekit.checkpoint.preprocessor_config import read_preprocessor
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.multimodal.language_model import language_config, portable_config
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD, ModelConfig, Plain

# what corekit's model does, of what Llava's configuration can say
KNOWN = {"vision_feature_select_strategy": "full", "projector_hidden_act": "gelu",
         "multimodal_projector_bias": True}
PROCESSORS = ("processor_config.json", "preprocessor_config.json")


class Llava(NamedTuple):
    """What a folder holds."""

    model: ModelConfig
    weights: State
    preprocess: Preprocess
    tokenizer: ChatTokenizer

    def recipe_of_tokenizer(self) -> Plain:
        """The recipe's node."""
        return {"name": "chat", "path": TOKENIZER, "picture_tokens": self.tokenizer.picture_tokens,
                "context_length": self.tokenizer.context_length}


def is_llava(folder: Path) -> bool:
    """Whether a folder's config.json is Llava's."""
    return folder.is_dir() and _config(folder).get("model_type") == "llava"


def read_llava(folder: Path) -> Llava:
    """Configuration, weights, processor and tokenizer; nothing is unpickled, and no code is run.

    Raises:
        CorekitError: the encoder, the connector or the layer is none that corekit has.
    """
    settings = _config(folder)
    for key, value in KNOWN.items():
        other = settings.get(key, True if key == "multimodal_projector_bias" else value)
        if other != value:
            raise CorekitError(f"{folder}/config.json has {key} {other}, and corekit's model "
                               f"multimodal knows {value} alone")
    layer = settings.get("vision_feature_layer", -2)
    if not isinstance(layer, int):
        raise CorekitError(f"{folder}/config.json takes tokens of several layers, {layer}, and "
                           "corekit's model multimodal of one")
    loaded = _on_disk(read_weights(str(folder), "SOURCE")[1])
    vision, text = settings["vision_config"], settings["text_config"]
    encoder = next((part for converter in vision_converters() if
                    (part := converter.from_vision(vision, below(loaded, "vision_tower")))), None)
    if encoder is None:
        raise CorekitError(f"{folder} has a vision tower of type {vision.get('model_type')}, which "
                           "no converter knows")
    language = portable_config(language_config({**text}))
    model = ModelConfig("multimodal", {
        "encoder_model": encoder[0].to_plain(), "language_model": language,
        "layer": layer if layer < 0 else layer - vision["num_hidden_layers"] - 1, "norm": False})
    weights = {f"encoder.{name}": value for name, value in encoder[1].items()}
    weights |= {f"connector.{name}": value
                for name, value in below(loaded, "multi_modal_projector").items()}
    weights |= {f"language_model.{name}": value
                for name, value in below(loaded, "language_model").items()}
    head, words = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
    if head not in weights and words in weights:  # one tensor, which is written once
        weights[head] = weights[words].clone()
    otherwise = Preprocess(vision["image_size"], "bicubic", CLIP_MEAN, CLIP_STD)
    processor = next((folder / name for name in PROCESSORS if (folder / name).is_file()), None)
    preprocess = read_preprocessor(processor, otherwise) if processor else otherwise
    length = language.get("max_position_embeddings")
    places = (vision["image_size"] // vision["patch_size"]) ** 2
    tokenizer = ChatTokenizer(str(folder), min(2048, length if isinstance(length, int) else 2048),
                              places)
    return Llava(model, {name: value.float() for name, value in weights.items()}, preprocess,
                 tokenizer)


def _on_disk(loaded: State) -> State:
    """Tensors under the names that files have, whether they are those or a program's own."""
    if not any(name.startswith("model.vision_tower.") for name in loaded):
        return loaded
    names = {name: name.removeprefix("model.") for name in loaded}
    names = {name: own.replace("language_model.", "language_model.model.", 1)
             for name, own in names.items()}
    return {names[name] if name != "lm_head.weight" else "language_model.lm_head.weight": value
            for name, value in loaded.items()}


def _config(folder: Path) -> Plain:
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
