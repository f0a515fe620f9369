"""Attention and blocks against torch's own, for all tokens and for one of each sample."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.layers.attention import (
    Attention,
    AttentionFunction,
    bidirectional,
    causal,
    causal_at,
    select_token,
)
from corekit.models.layers.block import Block
from corekit.models.layers.mlp import MLP, SwiGLU
from corekit.models.text_tower import Transformer


@pytest.mark.parametrize("attention", [bidirectional, causal])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_torchs(attention: AttentionFunction, bias: bool) -> None:
    torch.manual_seed(0)
    ours = Attention(12, 3, qkv_bias=bias, proj_bias=bias).double()
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True).double()
    theirs.load_state_dict({name.replace("qkv.", "in_proj_").replace("proj.", "out_proj.")
                            if name.startswith("qkv") else f"out_{name}": value
                            for name, value in ours.state_dict().items()})
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    mask = torch.ones(5, 5).triu(1).bool() if attention is causal else None
    torch.testing.assert_close(ours(x, attention), theirs(x, x, x, attn_mask=mask)[0])


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("index", [0, 3, torch.tensor([4, 0, 2])])
def test_one_token_alone_attends_as_it_does_among_all(index: int | Tensor, is_causal: bool) -> None:
    torch.manual_seed(0)
    attention, x = Attention(8, 2).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    function = causal_at(index, 5, x.device) if is_causal else bidirectional
    expected = select_token(attention(x, causal if is_causal else bidirectional), index)
    torch.testing.assert_close(attention(x, function, index), expected)


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_stack_gives_the_tokens_asked_for_and_their_gradients(is_causal: bool) -> None:
    torch.manual_seed(0)
    stack = Transformer(16, 2, 4, causal=is_causal).double()
    x, index = torch.randn(3, 6, 16).double(), torch.tensor([5, 0, 2])
    values = list(stack.parameters())
    one = torch.autograd.grad(stack(x, index).square().sum(), values)
    all_tokens = torch.autograd.grad(select_token(stack(x), index).square().sum(), values)
    for ours, theirs in zip(one, all_tokens):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_stochastic_depth_leaves_out_the_same_samples_for_one_token() -> None:
    block = Block(16, Attention(16, 2), MLP(16, 64), drop_path_rate=0.5).double()
    x = torch.randn(8, 5, 16).double()
    torch.manual_seed(0)
    one = block(x, index=0)
    torch.manual_seed(0)
    torch.testing.assert_close(one, block(x)[:, :1])


def test_a_gate_multiplies_what_it_gates() -> None:
    torch.manual_seed(0)
    mlp, x = SwiGLU(6, 10, bias=False), torch.randn(3, 6)
    gate = x @ mlp.fc1_g.weight.T
    expected = (gate * gate.sigmoid() * F.linear(x, mlp.fc1_x.weight)) @ mlp.fc2.weight.T
    torch.testing.assert_close(mlp(x), expected)
