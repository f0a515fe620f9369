"""Pooling by attention against the plain form, with keys and values of every token."""

import pytest
import torch

from corekit import CorekitError
from corekit.models.layers.pooling import AttentionPool
from tests.evaluation.known import attention_pool

WIDTH, OUTPUTS, HEADS = 12, 5, 3


def drawn(seed: int) -> AttentionPool:
    torch.manual_seed(seed)
    pool = AttentionPool(WIDTH, OUTPUTS, HEADS).double()
    torch.nn.init.normal_(pool.cls_token, std=3.0)  # far from a plain mean
    return pool


def test_values_and_gradients_are_those_of_keys_and_values_made_for_every_token() -> None:
    pool, tokens = drawn(0), torch.randn(4, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, OUTPUTS, dtype=torch.float64)
    wanted = [*pool.parameters(), tokens]
    expected, output = attention_pool(pool, tokens), pool(tokens)
    assert torch.allclose(output, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(output, attention_pool(pool, tokens.mean(1, keepdim=True)), rtol=0.1)
    grads = [torch.autograd.grad((one * weight).sum(), wanted) for one in (output, expected)]
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_copies_are_what_each_is_alone() -> None:
    pools, tokens = [drawn(seed) for seed in range(3)], torch.randn(4,
                                                                    7,
                                                                    WIDTH,
                                                                    dtype=torch.float64)
    stacked = {
        name: torch.stack([pool.state_dict()[name] for pool in pools])
        for name, _ in pools[0].named_parameters()
    }
    outputs = pools[0].copies(stacked, tokens)
    assert outputs.shape == (3, 4, OUTPUTS)
    for pool, one in zip(pools, outputs, strict=True):
        assert torch.allclose(one, attention_pool(pool, tokens), rtol=1e-12, atol=1e-12)
    assert pools[0].copies(stacked, tokens[:0]).shape == (3, 0, OUTPUTS)


def test_heads_have_to_divide_the_width() -> None:
    with pytest.raises(CorekitError, match="5 heads of attention do not divide a width of 12"):
        AttentionPool(WIDTH, OUTPUTS, 5)
