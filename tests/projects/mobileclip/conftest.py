"""Weights under which nothing hides: every scale, bias and running statistic away from where it starts."""

from collections.abc import Callable

import pytest
import torch
from torch import nn


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Draw every parameter and running statistic so that activations keep their size through the network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
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


@pytest.fixture(name="randomize")
def randomize_fixture() -> Callable[[nn.Module], None]:
    return randomize
