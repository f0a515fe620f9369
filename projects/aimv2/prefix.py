"""Prefix attention (Fini et al., 2024, section 2.2).

The first M patches see each other, the others see what comes before them.
"""

from functools import lru_cache, partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.models.layers.attention import AttentionFunction

Backend = Literal["sdpa", "flex"]


def prefix_lengths(uniform: Tensor, patches: int | Tensor) -> Tensor:
    """The prefix of each sample, int64 [B]: uniform from 1 to patches - 1.

    Args:
        uniform: a number in [0, 1) of each sample, [B]; the trainer's is of (seed, step, sample).
        patches: of a picture; or of each picture, int64 [B].
    """
    return 1 + (uniform * (patches - 1)).long()


def prefix_mask(lengths: Tensor, patches: int) -> Tensor:
    """Whether query q sees key k, bool [B, 1, patches, patches]: k < M or k <= q."""
    place = torch.arange(patches, device=lengths.device)
    return (place < lengths[:, None, None, None]) | (place <= place[:, None])


def prefix_attention(lengths: Tensor, patches: int, backend: Backend = "sdpa") -> AttentionFunction:
    """Attention in which patch q of a sample sees patch k where k < M or k <= q.

    Args:
        lengths: M, int64 [B].
        patches: of a picture; where they have different numbers, of the largest: those of others
            come first, and none of them sees what comes after.
        backend: ``sdpa``, with a mask of all pairs; or torch's FlexAttention, which leaves out
            blocks that nobody sees. On a CPU FlexAttention has no backward pass.

    Raises:
        CorekitError: in the call, where FlexAttention is asked for a gradient on a CPU.
    """
    if backend == "sdpa" or lengths.is_meta:  # shapes are the same
        return partial(F.scaled_dot_product_attention, attn_mask=prefix_mask(lengths, patches))
    from torch.nn.attention.flex_attention import create_block_mask  # half a second that few want

    def seen(sample: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < lengths[sample]) | (key <= query)

    mask = create_block_mask(seen, lengths.shape[0], None, patches, patches,
                             device=str(lengths.device))

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if query.device.type == "cpu" and query.requires_grad:
            raise CorekitError("FlexAttention has no backward pass on a CPU: set "
                               "model.attention=sdpa")
        flex = _flex(query.device.type == "cuda" and not torch.compiler.is_compiling())
        mixed: Tensor = flex(query, key, value, block_mask=mask)
        return mixed

    return attention


@lru_cache
def _flex(compiled: bool) -> Any:
    """FlexAttention, compiled where nothing else compiles it: plain, it holds all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention
