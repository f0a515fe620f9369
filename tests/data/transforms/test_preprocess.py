"""Preprocessing against torchvision's, and what is saved is what is loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from corekit import CorekitError
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("shape", [(64, 64), (100, 80), (81, 133), (40, 33), (224, 500), (65, 64)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_equals_torchvision(shape: tuple[int, int], interpolation: str) -> None:
    reference = v2.Compose([
        v2.Resize(64, InterpolationMode(interpolation)),
        v2.CenterCrop(64),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD)
    ])
    if max(shape) <= 2 * min(shape):
        pixels = Preprocess(64, interpolation, MEAN, STD)(picture(*shape))
        assert torch.allclose(pixels, reference(picture(*shape)), atol=1e-5)


@pytest.mark.parametrize("shape", [(300, 400), (232, 232), (90, 61)])
def test_a_crop_may_leave_a_margin(shape: tuple[int, int]) -> None:
    reference = v2.Compose([v2.Resize(232), v2.CenterCrop(224), v2.PILToTensor()])
    preprocess = Preprocess(224, "bilinear", MEAN, STD, crop_fraction=0.9655)
    assert torch.equal(preprocess.crop(picture(*shape)), reference(picture(*shape)))
    with pytest.raises(CorekitError, match="a crop_fraction above 0"):
        Preprocess(224, "bilinear", MEAN, STD, crop_fraction=1.1)


@pytest.mark.parametrize("shape", [(5000, 3), (3, 5000), (1, 1)])
def test_odd_shapes_become_squares_without_much_ado(shape: tuple[int, int]) -> None:
    assert Preprocess(64, "bilinear", MEAN, STD)(picture(*shape)).shape == (3, 64, 64)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    assert Preprocess(16, "bicubic", MEAN, STD)(picture(20, 20).convert(mode)).shape == (3, 16, 16)


def test_saved_and_loaded_and_refused(tmp_path: Path) -> None:
    preprocess = Preprocess(96, "bicubic", MEAN, STD)
    preprocess.save(tmp_path / "preprocess.json")
    assert Preprocess.load(tmp_path / "preprocess.json") == preprocess
    (tmp_path / "preprocess.json").write_text('{"size": 96}')
    with pytest.raises(CorekitError, match="is not a preprocessing"):
        Preprocess.load(tmp_path / "preprocess.json")
    with pytest.raises(CorekitError, match="neither bilinear nor bicubic"):
        Preprocess(96, "nearest", MEAN, STD)


def test_random_crops_follow_torchs_generator() -> None:
    crop = RandomResizedCrop(Preprocess(24, "bilinear", MEAN, STD), (0.1, 0.5), flip=0.5)
    drawn = []
    for seed in (1, 1, 2):
        torch.default_generator.manual_seed(seed)
        drawn.append(crop(picture(64, 64)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[0].shape == (3, 24, 24)
    assert drawn[0].dtype == torch.uint8
