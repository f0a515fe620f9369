"""Shapes without arithmetic: a model's outputs, and what it keeps for its backward pass."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ShapesOnly(TorchFunctionMode):
    """A context in which some functions of meta tensors are replaced by what costs the same.

    A normalisation is a product with its weight, which has its shape and dtype and keeps its input
    for the backward pass. torch works both out in Python, operation by operation, which for
    MobileCLIP-S2's batch norms takes more time than all the rest of it. Attention is that of a
    fused kernel, which keeps its inputs and its output; torch would keep the scores of all pairs on
    the meta device, which it does on no other.
    """

    def __torch_function__(self, function: Callable[..., object], types: Sequence[type],
                           args: Sequence[object] = (),
                           kwargs: Mapping[str, object] | None = None) -> object:
        first = args[0] if args else None
        if function in _INSTEAD and isinstance(first, Tensor) and first.is_meta:
            return _INSTEAD[function](*args, **(kwargs or {}))
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


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
               dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
               enable_gqa: bool = False) -> Tensor:
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(groups, -3) for each in (key, value))
    if attn_mask is not None:  # kernels add it to the scores
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
    output: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, True, dropout_p, is_causal)[0]
    return output


_INSTEAD: dict[Callable[..., object], Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm, F.layer_norm: _layer_norm, F.rms_norm: _layer_norm,
    F.scaled_dot_product_attention: _attention
}
