"""Weights in timm's own image towers, and how far its features are from the model's."""

import torch
import torch.nn.functional as F
from torch import nn

from corekit.checkpoint.read_state import State
from corekit.models.build import build_model
from corekit.recipes.schema import ModelConfig

LARGEST = 500_000_000  # parameters of a model that is built twice to compare
ROUNDING = 1e-4  # of features of unit length, between two orders of the same operations


def compare_with_timm(model: ModelConfig, weights: State, saved: State, name: str, classes: int,
                      size: int) -> list[str]:
    """A sentence where timm's model gives other features of a picture than ours, or none at all.

    Nothing where timm is not installed, or has no such model, or that is too large to try.

    Args:
        model, weights: ours.
        saved: what timm's model is to load.
        name, classes: of timm's model, and how wide its head is.
        size: of a picture of noise that both look at, in pixels.
    """
    try:
        import timm
        from timm.utils.model import reparameterize_model
    except ModuleNotFoundError:
        return []
    if not timm.is_model(name) or sum(value.numel() for value in saved.values()) > LARGEST:
        return []
    with torch.device("meta"):
        theirs: nn.Module = timm.create_model(name, num_classes=classes)
    theirs = theirs.to_empty(device="cpu").eval()
    if model.arguments.get("fused"):
        theirs = reparameterize_model(theirs)
    try:
        theirs.load_state_dict(saved, assign=True)
    except RuntimeError:
        return [f"timm's {name} does not take these weights: its tensors have other names or "
                "shapes"]
    with torch.random.fork_rng(devices=[]):
        ours = build_model(model, 0, torch.device("meta")).eval()
    ours.load_state_dict(weights, assign=True)
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = ours.encode_image(image, normalize=True)  # type: ignore[operator]
        distance = float((F.normalize(theirs(image), dim=-1) - expected).norm())
    if distance <= ROUNDING:
        return []
    return [f"timm's {name} gives features of a picture of noise with these weights that are "
            f"{distance:.1%} away from the model's"]
