"""Branches that training computes as one norm: values, grads and running statistics are those of
the branches themselves.
"""

from copy import deepcopy

import pytest
import torch
from corekit_projects.mobileclip.blocks import MobileOneBlock, RepMixer
from torch import Tensor, nn

CHANNELS = 6
BLOCKS = {
    "image": lambda: RepMixer(CHANNELS, (3, 3), scale_branch=True, layer_scale_init=0.5),
    "text": lambda: RepMixer(CHANNELS, (1, 5), scale_branch=False, layer_scale_init=0.5),
    "one": lambda: MobileOneBlock(CHANNELS, CHANNELS, (3, 3), groups=CHANNELS),
    "dense scale": lambda: MobileOneBlock(CHANNELS, CHANNELS, (3, 3)),
    "strided": lambda: MobileOneBlock(CHANNELS, CHANNELS, (3, 3), 2, CHANNELS),
}


def branch_by_branch(block: nn.Module, x: Tensor) -> Tensor:
    """What the paper's figure says, each branch by itself."""
    if isinstance(block, RepMixer):
        mixed, norm = (sum(branch(x) for branch in part.branches)
                       for part in (block.mixer, block.norm))
        return x + block.layer_scale.gamma * (mixed - norm)
    out = sum(branch(x) for branch in block.branches)
    return block.act(out)


def random(name: str) -> nn.Module:
    torch.manual_seed(3)
    block = BLOCKS[name]().double().train()
    with torch.no_grad():
        for value in block.parameters():
            value.normal_()
    return block


@pytest.mark.parametrize(
    "spread",
    [1.0, 1e-3])  # of the input: with the second, epsilon is no small part of the variance
@pytest.mark.parametrize("name", BLOCKS)
def test_values_grads_and_statistics_are_the_branches_own(name: str, spread: float) -> None:
    block = random(name)
    plain = deepcopy(block)
    x = (spread * torch.randn(4, CHANNELS, 5, 7, dtype=torch.float64) + 0.3).requires_grad_()
    grad = torch.randn_like(block(x))
    block = deepcopy(plain)  # whose statistics that did not touch
    output, expected = block(x), branch_by_branch(plain, x)
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    grads = [
        torch.autograd.grad(out, [x, *module.parameters()], grad)
        for out, module in ((output, block), (expected, plain))
    ]
    for mine, theirs in zip(*grads):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-7)
    for mine, theirs in zip(block.buffers(), plain.buffers()):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["image", "one"])
def test_a_norm_that_stands_still_stands_still(name: str) -> None:
    block = random(name)
    still = block.norm.identity if isinstance(block, RepMixer) else block.identity
    still.eval()
    before = [value.clone() for value in still.buffers()]
    x = torch.randn(4, CHANNELS, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(block(x), branch_by_branch(deepcopy(block), x))
    assert all(map(torch.equal, still.buffers(), before))


def test_channels_last_and_bf16() -> None:
    block = random("image").float()
    x = torch.randn(8, CHANNELS, 8, 8)
    expected = branch_by_branch(deepcopy(block), x)
    output = deepcopy(block)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        halved = deepcopy(block)(x)
    torch.testing.assert_close(halved.float(), expected, rtol=0.1, atol=0.1)
