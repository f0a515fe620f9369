"""Weights under which nothing hides: every scale, bias and running statistic away from where it
starts.
"""

from collections.abc import Callable

import open_clip
import pytest
import torch
from torch import Tensor, nn


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Position every parameter and running statistic so that activations keep their size through
    the network.
    """
    generator = torch.Generator().manual_seed(seed)
    # large models take stretches of it: drawing costs most of their test
    pool = torch.randn(2**21 - 1, generator=generator)

    def draw(shape: torch.Size) -> Tensor:
        start, count = int(torch.randint(2**20, (), generator=generator)), shape.numel()
        if start + count <= len(pool):
            return pool[start:start + count].view(shape)
        return pool.repeat(-(-(start + count) // len(pool)))[start:start + count].view(shape)

    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = draw(value.shape)
            if "gamma" in name:
                value.copy_(0.1 + 0.03 * noise)
            elif value.ndim >= 2 and "weight" in name and "embedding" not in name:
                value.copy_(noise * value[0].numel() ** -0.5)
            elif value.ndim == 1 and name.endswith("weight"):
                value.copy_(1 + 0.1 * noise)
            else:
                value.copy_(noise * 0.1)
        for name, value in module.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name.endswith("num_batches_tracked"):
                value.copy_(torch.randint(100, (), generator=generator))


def open_clip_model(name: str, device: str = "cpu", **arguments: int) -> nn.Module:
    """open_clip's model with random weights, in evaluation mode; made without its own costly
    initialisation.
    """
    with torch.device("meta"):
        model: nn.Module = open_clip.create_model(name, device="meta", **arguments).eval()
    if device == "cpu":
        model = model.to_empty(device="cpu")
        randomize(model)
        if model.text.attn_mask is not None:
            model.text.attn_mask = model.text.build_causal_mask()
    return model


@pytest.fixture(name="randomize")
def randomize_fixture() -> Callable[[nn.Module], None]:
    return randomize


@pytest.fixture(name="open_clip_model")
def open_clip_fixture() -> Callable[..., nn.Module]:
    return open_clip_model
