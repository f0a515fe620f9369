"""Pyramids: shapes, and which level depends on which."""

from functools import partial

import pytest
import torch

from corekit.models.dense.pyramid import FeaturePyramid, SimplePyramid
from corekit.models.layers.norm import LayerNorm2d

NORM = partial(LayerNorm2d, eps=1e-6)


def test_a_simple_pyramid_has_four_scales() -> None:
    simple = SimplePyramid(32, (4, 2, 1, 0.5), NORM)
    maps = simple([torch.rand(1, 32, 6, 4)])  # 96 x 64 pixels
    assert [tuple(level.shape[1:]) for level in maps] == [(8, 24, 16), (16, 12, 8), (32, 6, 4),
                                                          (32, 3, 2)]
    assert simple.widths == (8, 16, 32, 32)


@pytest.mark.parametrize("top_down", [False, True])
def test_levels_stand_alone_without_a_way_down(top_down: bool) -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid((4, 4, 4), 8, NORM, top_down=top_down, extra="pool")
    maps = [torch.rand(1, 4, 8 // 2**level, 8 // 2**level) for level in range(3)]
    before = pyramid(maps)
    after = pyramid([*maps[:2], maps[2] + torch.rand(1, 4, 2, 2)])
    changed = [not torch.equal(one, other) for one, other in zip(before, after)]
    assert changed == [top_down, top_down, True, True]
    assert torch.equal(before[3], before[2][:, :, ::2, ::2])


def test_a_bare_top_is_its_projection() -> None:
    torch.manual_seed(0)
    maps = [torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)]
    bare = FeaturePyramid((4, 4), 8, NORM, extra="conv", bare_top=True)
    levels = bare(maps)
    assert torch.equal(levels[1], bare.projections[1](maps[1]))
    assert torch.equal(levels[2], bare.extra(levels[1]))
    bare.bare_top = False
    usual = bare(maps)
    assert torch.equal(usual[0], levels[0]), "the way down is the same"
    assert torch.equal(usual[1], bare.outputs[1](levels[1]))
