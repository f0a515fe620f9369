"""CatLIP's models: CoreNet's sizes, its forward pass at any size of image, and its rates under
layer-wise decay.
"""

import math

import corenet_vit as corenet
import pytest
import torch
import torch.nn.functional as F
from corekit_projects.catlip.convert import CatLIPConverter
from torch import Tensor, nn

import corekit
from corekit import registry
from corekit.data.loading.ragged import pack
from corekit.linear_output import LinearOutput
from corekit.losses.binary_cross_entropy import BinaryCrossEntropy
from corekit.models.layer_list import layers, towers
from corekit.optim.adamw import adamw
from corekit.optim.layer_decay import depths

SMALL = {"num_classes": 9, "image_size": 64, "width_divisor": 12}  # one head of 64


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    vit: nn.Module = corekit.create_model("catlip_vit_b16", **SMALL)
    for name, value in vit.named_parameters():  # everything counts, and nothing outgrows the rest
        nn.init.normal_(value, 1.0 if "norm" in name and "weight" in name else 0.0,
                        value[0].numel() ** -0.5 if value.ndim > 1 and "weight" in name else 0.3)
    for name, value in vit.named_buffers():
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 2.0)
        elif name.endswith("running_mean"):
            nn.init.normal_(value)
    return vit.double().eval()


@pytest.mark.parametrize(("name", "trunk", "total", "keys"),
                         [("catlip_vit_b16", 85_955_328, 104_657_414, 170),
                          ("catlip_vit_l16", 303_838_208, 328_766_214, 314),
                          ("catlip_vit_h16", 631_998_720, 663_152_646, 410)])
def test_sizes_are_corenets(name: str, trunk: int, total: int, keys: int) -> None:
    """Its figures have the six scalars of RangeAugment among them."""
    with torch.device("meta"):
        vit = corekit.create_model(name)
    count = sum(value.numel() for value in vit.parameters())
    assert count == total - 6
    assert count - vit.head.weight.numel() - vit.head.bias.numel() == trunk
    assert len(vit.state_dict()) == keys - 6
    width, blocks, heads = corenet.SIZES[name]
    assert (len(vit.blocks), vit.blocks[0].attn.heads) == (blocks, heads)
    state = CatLIPConverter().save(vit.state_dict(), name, "corenet")
    assert {key: list(value.shape)
            for key, value in state.items()} == corenet.shapes(width, blocks, 24320)


@pytest.mark.parametrize("size", [(64, 64), (96, 96), (48, 48), (32, 128), (64, 48)])
@torch.no_grad()
def test_the_forward_pass_is_corenets_at_any_size(model: nn.Module, size: tuple[int, int]) -> None:
    model.pos_embed_interp = "flat1d"
    image = 5 * torch.randn(2, 3, *size, dtype=torch.float64)
    state = CatLIPConverter().save(model.state_dict(), "catlip_vit_b16", "corenet")
    expected = corenet.forward(state, image, heads=1)
    outputs = model(image)
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    assert torch.allclose(outputs["logits"].dense(), expected, rtol=0, atol=1e-10)
    assert torch.equal(outputs["pooled"], outputs["tokens"][:, 0])
    assert outputs["tokens"].shape == (2, 1 + size[0] * size[1] // 256, 64)
    assert torch.allclose(model.encode_image(image), outputs["pooled"])
    assert torch.allclose(model.encode_image(image, normalize=True).norm(dim=1), torch.ones(2))


def test_positions_are_stretched_over_the_grid_or_along_the_row(model: nn.Module) -> None:
    table = model.pos_embed.detach()
    grid = F.interpolate(table.mT.unflatten(2, (4, 4)), (2, 8), mode="bilinear").flatten(2).mT
    for interp, expected in (("grid2d", grid), ("flat1d", table)):
        model.pos_embed_interp = interp
        first, patches = model.positions(2, 8)  # as many as in the table
        assert first is None
        assert torch.equal(patches, expected)
        assert torch.equal(model.positions(4, 4)[1], table)
    # half as many: each in the middle of two
    positions, rows = model.positions(1, 8)[1], torch.arange(8) * 2
    assert torch.allclose(positions[0], (table[0, rows] + table[0, rows + 1]) / 2)


def test_in_training_only_the_class_token_is_given(model: nn.Module) -> None:
    model.train()
    assert sorted(model(torch.rand(2, 3, 64, 64).double())) == ["logits", "pooled"]
    model.eval()


def test_the_loss_of_a_new_model_is_that_of_a_coin() -> None:
    wide = corekit.create_model("catlip_vit_b16", **{**SMALL, "num_classes": 24320})
    outputs = wide(torch.rand(4, 3, 64, 64))
    assert isinstance(outputs["logits"], LinearOutput)
    total = BinaryCrossEntropy()(outputs["logits"], *pack([[1, 2], [], [24319], [7]]))
    assert total.item() / 4 == pytest.approx(24320 * math.log(2), rel=1e-3)
    total.backward()
    assert all(value.grad is not None and value.grad.any() for value in wide.parameters())


def test_the_small_model_starts_with_a_head_that_the_encoder_learns_through() -> None:
    head = corekit.create_model("catlip_vit_nano", num_classes=233).head
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert head.bias.sigmoid().tolist() == pytest.approx([0.01] * 233)
    small = corekit.create_model("catlip_vit_nano", num_classes=233, head_std=0.001).head
    assert small.weight.std().item() == pytest.approx(0.001, rel=0.02)


def test_layer_decay_gives_corenets_rates_with_a_class_token() -> None:
    with torch.device("meta"):
        augmented = registry.build("model", "range_augment",
                                   {"model": corekit.create_model("catlip_vit_b16")})
    assert [path for path, _ in towers(augmented)] == [""]
    assert layers(augmented) == list(augmented.blocks)
    optimizer = adamw(augmented, 1e-3, layer_decay=0.7)
    scale_of = {
        id(value): round(group["lr_scale"], 5) for group in optimizer.param_groups
        for value in group["params"]
    }
    scales = {name: scale_of[id(value)] for name, value in augmented.named_parameters()}
    expected = {
        "cls_token": 0.00969, "pos_embed": 0.00969, "patch_embed": 0.00969,
        "neural_augmentor": 0.00969, "blocks.0": 0.01384, "blocks.11": 0.7, "norm": 0.7,
        "head": 1.0, **{f"blocks.{layer}": round(0.7**(12 - layer), 5) for layer in range(1, 11)}
    }
    for name, scale in scales.items():
        part = ".".join(name.split(".")[:2]) if name.startswith("blocks.") else name.split(".")[0]
        assert scale == expected[part], name
    assert {depth for depth, _ in depths(augmented).values()} == set(range(14))


@pytest.mark.parametrize("autocast", [False, True])
def test_the_wide_output_is_that_of_the_layer(autocast: bool) -> None:
    head, hidden = nn.Linear(4, 6), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output, expected = LinearOutput.of(hidden, head), head(hidden)
    dense = output.dense()
    assert dense.dtype == expected.dtype == (torch.bfloat16 if autocast else torch.float32)
    assert torch.equal(dense, expected)
    assert torch.allclose(
        output.block(2, 5).dense(), expected[:, 2:5], rtol=1e-2 if autocast else 1e-6)
    assert (output.classes, output.weight.data_ptr()) == (6, head.weight.data_ptr())

    def grads(logits: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(logits.float().square().sum(), [head.weight, head.bias]))

    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(grads(dense), grads(expected), strict=True))


def test_a_head_starts_at_its_prior() -> None:
    classes = 1000  # enough for the mean
    model = corekit.create_model("catlip_vit_nano", num_classes=classes).eval()
    assert torch.allclose(model.head.bias.sigmoid(), torch.full((classes,), 0.01))
    shares = model(torch.rand(2, 3, 64, 64))["logits"].dense().sigmoid()
    assert shares.mean().item() == pytest.approx(0.01, rel=0.08)
    without = corekit.create_model("catlip_vit_nano", num_classes=7, prior=None)
    assert torch.equal(without.head.bias, torch.zeros(7))


@pytest.mark.parametrize(("clip", "catlip"), [("catlip_clip_vit_b16", "catlip_vit_b16"),
                                              ("catlip_clip_nano", "catlip_vit_nano")])
def test_the_clip_beside_it_has_the_same_image_tower(clip: str, catlip: str) -> None:
    def shapes(model: nn.Module) -> dict[str, torch.Size]:
        return {
            name: value.shape for name, value in model.state_dict().items()
            if not name.startswith("head.")
        }

    with torch.device("meta"):
        assert shapes(corekit.create_model(clip).image_tower) == shapes(
            corekit.create_model(catlip))
