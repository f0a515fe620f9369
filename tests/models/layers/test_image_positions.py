"""Position tables made for one size of image, refitted for another: as timm resamples them."""

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

import corekit
from corekit.models.layers.patch_embed import PatchEmbed
from corekit.models.vit import ViT


def tower(grid: int, class_position: bool = True) -> ViT:
    return ViT(PatchEmbed(8, 4),
               grid,
               width=8,
               layers=1,
               heads=2,
               embed_dim=4,
               class_position=class_position)


def catlip(size: int, interp: str) -> nn.Module:
    return corekit.create_model("catlip_vit_b16",
                                num_classes=3,
                                image_size=size,
                                width_divisor=12,
                                depth_divisor=12,
                                pos_embed_interp=interp)


@pytest.mark.parametrize("sides", [(4, 6), (6, 4), (5, 12)])
@pytest.mark.parametrize("class_position", [True, False])
def test_a_table_is_stretched_over_the_grid(sides: tuple[int, int], class_position: bool) -> None:
    before, after = (tower(side, class_position) for side in sides)
    table = after.refit("pos_embed", before.pos_embed)
    expected = resample_abs_pos_embed(before.pos_embed, [sides[1]] * 2,
                                      num_prefix_tokens=int(class_position),
                                      interpolation="bilinear",
                                      antialias=False)
    assert table is not None
    assert torch.allclose(table, expected, atol=1e-7)
    assert table.shape == after.pos_embed.shape
    rows = before.positions(sides[1], sides[1])
    assert torch.equal(table, torch.cat([row for row in rows if row is not None],
                                        1)), "as the old model sees this size"


@pytest.mark.parametrize("interp", ["grid2d", "flat1d"])
def test_along_the_row_where_a_model_stretches_so(interp: str) -> None:
    before, after = catlip(64, interp), catlip(96, interp)
    table = after.refit("pos_embed", before.pos_embed)
    assert torch.equal(table, before.positions(6, 6)[1])
    other = catlip(64, "flat1d" if interp == "grid2d" else "grid2d")
    other.load_state_dict(before.state_dict())
    assert (table - other.positions(6, 6)[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "shape"), [("pos_embed", (1, 17, 9)), ("pos_embed", (1, 18, 8)),
                                             ("pos_embed", (17, 8)), ("pos_embed", (2, 17, 8)),
                                             ("pos_embed", (8, )), ("pos_embed", (1, 1, 8)),
                                             ("cls_token", (1, 17, 8))])
def test_nothing_is_made_of_what_is_no_such_table(name: str, shape: tuple[int, ...]) -> None:
    assert tower(6).refit("pos_embed", torch.zeros(1, 17, 8)) is not None
    assert tower(6).refit(name, torch.zeros(shape)) is None
