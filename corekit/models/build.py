"""A recipe's model, with random weights."""

import contextlib

import torch
from torch import nn

from corekit.models.freeze import freeze
from corekit.recipes.schema import ModelConfig
from corekit.seeds import derive_seed


def build_model(config: ModelConfig, seed: int, device: torch.device) -> nn.Module:
    """The model with random weights drawn by the recipe's seed, on a device."""
    torch.manual_seed(derive_seed(seed, "weights"))
    with torch.device("meta") if device.type == "meta" else contextlib.nullcontext():
        model: nn.Module = config.build("model")
    freeze(model, config.frozen or [])
    return model if device.type == "meta" else model.to(device)
