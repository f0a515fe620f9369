"""The image towers against timm's, under random weights, running statistics and layer scales."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from corekit_projects.mobileclip.blocks import AttentionBlock, RepMixerBlock
from corekit_projects.mobileclip.branches import ConvNorm
from corekit_projects.mobileclip.mci import MCi
from torch import Tensor, nn

import corekit
from tests.projects.mobileclip.agreement import error

Randomize = Callable[[nn.Module], None]
SQUEEZE_EXCITE = (False, False, True, True)


def outputs(theirs: nn.Module, build: Callable[[], nn.Module], image: Tensor,
            randomize: Randomize) -> tuple[Tensor, Tensor]:
    """What both give for the image with the same random weights; names must be equal, their head's
    bias left out.
    """
    theirs.eval()
    randomize(theirs)
    state = theirs.state_dict()
    for key in ("head.fc.bias", "head.bias"):
        if key in state:
            state.pop(key).zero_()
    with torch.device("meta"):
        ours = build().eval()
    ours.load_state_dict(state, assign=True)
    with torch.no_grad():
        return ours(image), theirs(image)


@pytest.mark.parametrize(("name", "arguments"), [
    ("fastvit_mci0", {"depths": (2, 6, 10, 2), "widths": (64, 128, 256, 512)}),
])
def test_mci_agrees_with_timm(name: str, arguments: dict[str, Any], randomize: Randomize) -> None:
    torch.manual_seed(0)
    ours, theirs = outputs(timm.create_model(name, num_classes=512),
                           lambda: MCi(embed_dim=512, squeeze_excite=SQUEEZE_EXCITE, **arguments),
                           torch.randn(2, 3, 128, 160), randomize)
    assert error(ours, theirs) < 1e-5


def test_five_stages_with_layer_norm_agree_with_timm(randomize: Randomize) -> None:
    """MCi3 and MCi4 in small: five stages, two with attention after layer norm, no
    squeeze-excite.
    """
    torch.manual_seed(0)
    depths, widths = (1, 1, 2, 1, 1), (32, 64, 128, 256, 512)
    ours, theirs = outputs(
        timm.create_model("fastvit_mci3", num_classes=64, layers=depths, embed_dims=widths),
        lambda: MCi(depths,
                    widths,
                    64,
                    attention_stages=2,
                    squeeze_excite=(False, ) * 5,
                    mlp_ratio=4.0,
                    layer_norm=True,
                    stem_scale_branch=False), torch.randn(2, 3, 128, 128), randomize)
    assert error(ours, theirs) < 1e-5


def test_stem_padding_surrounds_the_image_with_zeros() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        models = [corekit.create_model("mobileclip_b", stem_padding=padding) for padding in (1, 0)]
    stems = [model.image_tower.patch_embed.to_empty(device="cpu").eval() for model in models]
    for value in stems[0].state_dict().values():
        value.copy_(torch.rand(value.shape))
    stems[1].load_state_dict(stems[0].state_dict())
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(stems[0](image), stems[1](nn.functional.pad(image, (1, 1, 1, 1))))


def test_stochastic_depth_grows_linearly_over_all_stages() -> None:
    with torch.device("meta"):
        tower = MCi((1, 2, 1, 1), (32, 64, 128, 256),
                    8,
                    squeeze_excite=SQUEEZE_EXCITE,
                    drop_path_rate=0.4)
    rates = [
        block.drop_path.rate for block in tower.modules()
        if isinstance(block, (RepMixerBlock, AttentionBlock))
    ]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_attention_sees_the_grid_that_the_strides_leave() -> None:
    with torch.device("meta"):
        tower = MCi((1, 1, 1, 1), (32, 64, 128, 256), 8, squeeze_excite=SQUEEZE_EXCITE,
                    downsample_strides=(1, 2, 2, 1))
        grids = []
        tower.stages[-1].register_forward_hook(
            lambda _module, _inputs, output: grids.append(tuple(output.shape)))
        tower(torch.empty(2, 3, 64, 64))
    assert grids == [(2, 256, 4, 4)]


@pytest.mark.parametrize("channels", [16, 64, 80])
@pytest.mark.parametrize("bf16", [False, True])
def test_strided_pointwise_convolutions_stay_in_their_memory(channels: int, bf16: bool) -> None:
    """torch 2.15's own ends in a crash here: 1x1, stride 2, channels_last, on a CPU."""
    branch = ConvNorm(3, channels, (1, 1), stride=2)
    image = torch.rand(4, 3, 256, 256).to(memory_format=torch.channels_last)
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = branch(image)
        output.float().sum().backward()
    # torch's norm of channels_last images adds up in plain fp32 order: 3e-5 away from float64,
    # where the other is 1e-6
    x = nn.functional.conv2d(image[:, :, ::2, ::2].double(), branch.conv.weight.double())
    expected = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var(
        (0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert (output - expected).abs().max() < (5e-2 if bf16 else 1e-4)
