"""Preprocessing against torchvision's, and what is saved is what is loaded."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from corekit import CorekitError
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import LONGEST, Preprocess

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


SHAPES = [(1242, 375), (700, 301), (64, 64), (100, 80), (81, 133), (40, 33), (65, 64), (1, 1),
          (1, 50), (60, 1), (97, 9699)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.9655, 1.3])
def test_pixels_equal_torchvisions_to_the_bit(interpolation: str, crop_fraction: float) -> None:
    preprocess = Preprocess(64, interpolation, MEAN, STD, crop_fraction)
    reference = v2.Compose([v2.Resize(round(64 / crop_fraction), InterpolationMode(interpolation)),
                            v2.CenterCrop(64), v2.PILToTensor()])
    normalize = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    for shape in SHAPES:
        pixels = reference(picture(*shape))
        assert torch.equal(preprocess.crop(picture(*shape)), pixels)
        assert torch.allclose(preprocess(picture(*shape)), normalize(pixels), atol=1e-5)


@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pixels_equal_open_clips_to_the_bit(resize: str, mode: str) -> None:
    transform = pytest.importorskip("open_clip.transform")
    for fill, size, interpolation in ((0, 63, "bicubic"), (77, 64, "bilinear")):
        theirs = transform.image_transform(size, False, MEAN, STD, resize, interpolation, fill)
        ours = Preprocess(size, interpolation, MEAN, STD, resize=resize, fill=fill)
        for shape in [*SHAPES[:-1], (3, 290), (50, 50)]:
            alpha = np.random.default_rng(1).integers(0, 256, shape[::-1], dtype=np.uint8)
            image = picture(*shape)
            image.putalpha(Image.fromarray(alpha))
            image = image.convert("RGB").quantize(64) if mode == "P" else image.convert(mode)
            levels = (theirs(image) * torch.tensor(STD)[:, None, None]
                      + torch.tensor(MEAN)[:, None, None]) * 255
            assert torch.equal(ours.crop(image), levels.round().to(torch.uint8)), shape


@pytest.mark.parametrize("shape", [(5000, 3), (3, 5000), (10, 1201), (40001, 300), (1, 3001)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_very_long_pictures_are_cut_first_and_look_alike(shape: tuple[int, int],
                                                         interpolation: str) -> None:
    preprocess = Preprocess(32, interpolation, MEAN, STD)
    (left, top, right, bottom), resized, _ = preprocess.geometry(*shape)
    assert (left, top) == (shape[0] - right, shape[1] - bottom)
    assert max(resized) <= 33 * LONGEST
    whole = v2.Compose([v2.Resize(32, InterpolationMode(interpolation)), v2.CenterCrop(32),
                        v2.PILToTensor()])(picture(*shape))
    difference = (preprocess.crop(picture(*shape)).int() - whole.int()).abs()
    assert difference.max() <= 2
    assert (difference > 0).float().mean() < 0.1


def test_half_a_pixel_is_rounded_as_asked() -> None:
    even, down = (Preprocess(64, "bicubic", MEAN, STD, crop_rounding=rounding)
                  for rounding in ("even", "down"))
    assert [even.geometry(side, 64)[2][0] for side in (65, 66, 67)] == [0, 1, 2]
    assert [down.geometry(side, 64)[2][0] for side in (65, 66, 67)] == [0, 1, 1]


def test_saved_and_loaded_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocess.json"
    for preprocess in (Preprocess(96, "bicubic", MEAN, STD),
                       Preprocess(96, "bilinear", MEAN, STD, 0.9, "longest", 128, "down"),
                       Preprocess(96, "bilinear", MEAN, STD, resize="pad", tiles=9)):
        preprocess.save(file)
        assert Preprocess.load(file) == preprocess
    content = {"size": 96, "interpolation": "bicubic", "mean": MEAN, "std": STD}
    file.write_text(json.dumps({**content, "crop_fraction": 0.875}))  # an earlier corekit's
    assert Preprocess.load(file) == Preprocess(96, "bicubic", MEAN, STD, 0.875)
    file.write_text('{"size": 96}')
    with pytest.raises(CorekitError, match="is not a preprocessing"):
        Preprocess.load(file)
    for key, value, message in (
            ("interpolation", "nearest", "'nearest' of a preprocessing is none of bilinear, bicub"),
            ("resize", "fit", "resize 'fit' of a preprocessing is none of shortest, squash, longe"),
            ("tiles", 0, "has tiles from 1 to 100, not 0"),
            ("crop_rounding", "up", "crop_rounding 'up' of a preprocessing is none of even, down"),
            ("crop_fraction", 0.0, "a crop_fraction above 0"), ("fill", 256, "a fill from 0 to"),
            ("crop_fraction", 193.0, "that leaves a pixel of the picture")):
        with pytest.raises(CorekitError, match=message):
            Preprocess(**{**content, key: value})


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
