"""What of a model ``multimodal`` transformers' Llava can hold."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from corekit import registry
from corekit.data.transforms.preprocess import Preprocess
from corekit.models.multimodal.multimodal import Multimodal
from corekit.recipes.schema import ModelConfig, Plain

State = dict[str, Tensor]


@runtime_checkable
class VisionConverter(Protocol):
    """A converter of encoders that transformers has a vision model for, without a class token."""

    def vision_config(self, encoder: nn.Module, size: int) -> Plain | None:
        """Its configuration for square pictures of a size; None: it has no such encoder."""

    def vision_weights(self, encoder: nn.Module, size: int) -> State:
        """The encoder's weights under the names of that vision model."""

    def from_vision(self, settings: Plain, weights: State) -> tuple[ModelConfig, State] | None:
        """The encoder of a configuration, and its weights; None: it is no such encoder."""


def vision_converters() -> list[VisionConverter]:
    """The converters of encoders that Llava can hold."""
    every = (registry.build("converter", name) for name in registry.names("converter"))
    return [each for each in every if isinstance(each, VisionConverter)]


def vision_converter(encoder: nn.Module, size: int) -> VisionConverter | None:
    """The converter of an encoder; None: there is none."""
    return next((each for each in vision_converters()
                 if each.vision_config(encoder, size) is not None), None)


def obstacle(model: Multimodal, preprocess: Preprocess) -> str | None:
    """Why Llava cannot hold a model, and what would let it; None: it can."""
    if model.norm:
        return ("its connector reads tokens after the encoder's last norm, and Llava's before it: "
                "model.norm=false")
    if model.connector.kind != "mlp" or model.connector.shuffle != 1:
        return ("Llava's connector is two linear layers over all tokens: model.connector=mlp "
                "model.shuffle=1")
    if preprocess.tiles != 1 or preprocess.resize == "longest":
        return ("Llava sees a picture as one square: data.preprocess.tiles=1 "
                "data.preprocess.resize=pad")
    if getattr(model.head, "bias", None) is not None:
        return "the language model's output layer has a bias, and Llava's has none"
    if vision_converter(model.encoder, preprocess.size) is None:
        return ("no converter knows a vision model of transformers for its encoder: choose another "
                "one as model.encoder_model")
    return None


def remarks(model: nn.Module, preprocess: Preprocess) -> list[str]:
    """What is to be known before training: that ``corekit convert`` will not write the model."""
    problem = obstacle(model, preprocess) if isinstance(model, Multimodal) else None
    return [f"transformers' Llava will not hold this model: {problem}"] if problem else []
