"""Shapes without arithmetic: a model's outputs, and what it keeps for its backward pass."""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ShapesOnly(TorchFunctionMode):
    """A context in which normalisations of meta tensors are a product with their weight.

    That has their shape and dtype and keeps their input for the backward pass, as they do. torch
    works both out in Python, operation by operation, which for MobileCLIP-S2's batch norms takes
    more time than all the rest of it.
    """

    def __torch_function__(self, function: Callable[..., object], types: Sequence[type],
                           args: Sequence[object] = (),
                           kwargs: Mapping[str, object] | None = None) -> object:
        first = args[0] if args else None
        if function in _NORMS and isinstance(first, Tensor) and first.is_meta:
            return _NORMS[function](*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _scaled(x: Tensor, weight: Tensor | None, dimensions: int) -> Tensor:
    scale = x.new_empty(1) if weight is None else weight
    return x * scale.view(*scale.shape, *[1] * dimensions)


def _batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
                weight: Tensor | None = None, *others: object, **more: object) -> Tensor:
    return _scaled(input, weight, input.ndim - 2)


def _layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
                *others: object, **more: object) -> Tensor:
    return _scaled(input, weight, 0)


_NORMS: dict[Callable[..., object], Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm, F.layer_norm: _layer_norm, F.rms_norm: _layer_norm
}
