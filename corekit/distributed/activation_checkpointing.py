"""Activation checkpointing: layers are computed again in the backward pass to save memory."""

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from corekit.distributed.batch_norm_stats import normalises_by_statistics
from corekit.models.layer_list import all_layers

Context = contextlib.AbstractContextManager[None]


def recompute_layers(model: nn.Module) -> None:
    """Recompute the layers of the model's towers in place, with the same random numbers.

    Chen et al., 2016.
    """
    for layer in all_layers(model):
        contexts = {"context_fn": partial(_contexts, layer)} if has_statistics(layer) else {}
        layer.forward = partial(  # type: ignore[method-assign]
            checkpoint, layer.forward, use_reentrant=False, **contexts)


def has_statistics(module: nn.Module) -> bool:
    """Whether some layer in it keeps running statistics."""
    return any(map(normalises_by_statistics, module.modules()))


def _contexts(layer: nn.Module) -> tuple[Context, Context]:
    """Of the forward pass, and of its repetition in the backward pass."""
    return contextlib.nullcontext(), _statistics_kept(layer)


@contextlib.contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Running statistics are not updated a second time."""
    saved = [(buffer, buffer.clone()) for module in layer.modules()
             if normalises_by_statistics(module) for buffer in module.buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)
