"""Every block that is folded, in float64 and fp32, and whole models: the same outputs, once and for
good.
"""

from collections.abc import Callable

import pytest
import torch
from corekit_projects.mobileclip.blocks import (
    ConvFFN,
    MobileOneBlock,
    ReparamLargeKernelConv,
    RepCPE,
    RepMixer,
    RepMixerBlock,
)
from corekit_projects.mobileclip.branches import ConvNorm
from corekit_projects.mobileclip.text import KERNEL, TextRepMixerBlock
from torch import nn

import corekit
from corekit import CorekitError
from corekit.models.conv_stem import ConvStem
from tests.projects.mobileclip.agreement import error

Randomize = Callable[[nn.Module], None]
IMAGE = (2, 16, 12, 14)
BLOCKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {  # the block, and its input
    "MobileOne, dense, stride 2": (lambda: MobileOneBlock(16, 24, (3, 3), stride=2), IMAGE),
    "MobileOne, dense, identity": (lambda: MobileOneBlock(16, 16, (3, 3)), IMAGE),
    "MobileOne, depthwise, stride 2": (
        lambda: MobileOneBlock(16, 16, (3, 3), stride=2, groups=16), IMAGE),
    "MobileOne, 4 groups, identity": (lambda: MobileOneBlock(16, 16, (3, 3), groups=4), IMAGE),
    "MobileOne, 1x1": (lambda: MobileOneBlock(16, 16, (1, 1)), IMAGE),
    "MobileOne, squeeze-excite": (
        lambda: MobileOneBlock(16, 32, (3, 3), groups=16, squeeze_ratio=1 / 4), IMAGE),
    "MobileOne, no scale branch": (
        lambda: MobileOneBlock(16, 16, (3, 3), stride=2, groups=16, scale_branch=False), IMAGE),
    "MobileOne, wide kernel": (lambda: MobileOneBlock(16, 16, (1, 11), groups=16), IMAGE),
    "RepMixer": (lambda: RepMixer(16, (3, 3), True, 1.0), IMAGE),
    "RepMixer, text": (lambda: RepMixer(16, KERNEL, False, 1.0), (2, 16, 1, 20)),
    "RepMixer block": (lambda: RepMixerBlock(16, 3.0, 0.0, 1.0), IMAGE),
    "RepMixer block, text": (lambda: TextRepMixerBlock(16, 3.0, 1.0), (2, 20, 16)),
    "large kernel": (lambda: ReparamLargeKernelConv(16, 32, 2, squeeze_excite=False), IMAGE),
    "large kernel, squeeze-excite": (
        lambda: ReparamLargeKernelConv(16, 32, 2, squeeze_excite=True), IMAGE),
    "RepCPE": (lambda: RepCPE(16), IMAGE),
    "ConvFFN": (lambda: ConvFFN(16, 48), IMAGE),
    "ConvNorm": (lambda: ConvNorm(16, 32, (3, 3)), IMAGE),
    "stem of B": (lambda: ConvStem(32, 1), (2, 3, 32, 48)),
}
# arguments that make it small, and norms that stay: before attention
MODELS: dict[str, tuple[dict[str, int], int]] = {
    "mobileclip_nano": ({}, 1),
    "mobileclip_s0": ({"width_divisor": 4}, 2),
    "mobileclip2_s3": ({"width_divisor": 8}, 0),
    "mobileclip_b": ({"width_divisor": 4, "image_size": 64}, 0),
}


def norms(module: nn.Module) -> int:
    return sum(isinstance(each, nn.BatchNorm2d) for each in module.modules())


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_folded_block_gives_the_same(name: str, dtype: torch.dtype, most: float,
                                       randomize: Randomize) -> None:
    torch.manual_seed(0)
    build, shape = BLOCKS[name]
    block = build().eval()
    randomize(block)
    for index, module in enumerate(block.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3 * (1 + index)  # its own, not a usual one
    block = block.to(dtype)
    x = torch.randn(shape, dtype=dtype)
    fused = corekit.reparameterize(block)
    assert norms(block) > 0 or name == "RepCPE"
    assert norms(fused) == 0
    assert len(list(fused.parameters())) < len(list(block.parameters())) or name == "RepCPE"
    assert {value.dtype for value in fused.parameters()} == {dtype}
    assert error(fused(x), block(x)) < most


def test_the_residuals_of_mixers_and_positions_are_in_their_kernels(randomize: Randomize) -> None:
    x = torch.randn(IMAGE)
    for block in (RepMixer(16, (3, 3), True, 0.5), RepCPE(16)):
        randomize(block)
        fused = corekit.reparameterize(block.eval())
        assert dict(fused.named_parameters()).keys() == {"reparam_conv.weight", "reparam_conv.bias"}
        torch.testing.assert_close(fused(x), fused.reparam_conv(x))


@pytest.mark.parametrize("name", MODELS)
def test_a_folded_model_gives_the_same_and_loads_again(name: str, randomize: Randomize) -> None:
    arguments, staying = MODELS[name]
    model = corekit.create_model(name, vocab_size=100, **arguments).double()
    randomize(model)
    with pytest.raises(CorekitError, match="training mode"):
        corekit.reparameterize(model)
    model.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text = torch.randint(1,
                         99, (2, model.text_tower.context_length),
                         generator=torch.Generator().manual_seed(0))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        expected = model.encode_image(image), model.encode_text(text)
        fused = corekit.reparameterize(model)
        assert error(fused.encode_image(image), expected[0]) < 1e-10
        assert error(fused.encode_text(text), expected[1]) < 1e-10
        assert norms(fused) == staying

        again = corekit.reparameterize(fused)
        state = fused.state_dict()
        assert again.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())

        loaded = corekit.create_model(name, vocab_size=100, fused=True, **arguments).double()
        loaded.load_state_dict(state)
        assert torch.equal(loaded.eval().encode_image(image), fused.encode_image(image))

        single = corekit.reparameterize(model.float())
        assert error(single.encode_image(image.float()), expected[0].float()) < 1e-5
    assert all(torch.equal(value.to(before[key]), before[key].float().to(before[key]))
               for key, value in model.state_dict().items()), "the model given is left as it was"


COUNTS = {  # image and text tower after Apple's own re-parameterisation
    "mobileclip_s0": (11_356_992, 42_435_072), "mobileclip_s1": (21_460_544, 63_428_096),
    "mobileclip_s2": (35_702_480, 63_428_096), "mobileclip2_s0": (11_357_504, 63_428_096),
    "mobileclip2_s2": (35_702_992, 63_428_096), "mobileclip2_s3": (125_074_272, 123_650_304),
}


@pytest.mark.parametrize("name", COUNTS)
def test_folded_counts_are_apples_less_the_norms_that_apple_keeps(name: str) -> None:
    with torch.device("meta"):
        model, fused = corekit.create_model(name), corekit.create_model(name, fused=True)
    for tower, count in zip(("image_tower", "text_tower"), COUNTS[name], strict=True):
        inner = [
            module.conv.conv.out_channels for module in getattr(model, tower).modules()
            if isinstance(module, ConvFFN)
        ]
        assert sum(value.numel()
                   for value in getattr(fused, tower).parameters()) == count - sum(inner)
