"""What transformers' image processors write, read as corekit's preprocessing: the same pixels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from corekit.checkpoint.preprocessor_config import read_preprocessor
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD

PUBLISHED = {
    "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD)
}
ELSE = Preprocess(14, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def of(size: int, interpolation: str = "bicubic", *rest: Any, **more: Any) -> Preprocess:
    mean, std = rest[:2] or (CLIP_MEAN, CLIP_STD)
    return Preprocess(size, interpolation, mean, std, *rest[2:], crop_rounding="down", **more)


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, of(224)),
    ({"size": 336, "crop_size": 336, "resample": 2}, of(336, "bilinear")),
    ({"do_resize": False, "do_center_crop": False}, of(14, "bilinear")),
    ({"do_normalize": False}, of(224, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
    ({"size": {"shortest_edge": 256}}, of(224, crop_fraction=0.875)),
    ({"size": {"shortest_edge": 200}}, of(224, crop_fraction=1.12)),
    ({"size": {"height": 256, "width": 256}}, of(224, crop_fraction=0.875, resize="squash")),
    ({"size": {"height": 384, "width": 384}, "crop_size": None}, of(384, resize="squash")),
    ({"size": 384, "do_center_crop": False}, of(384, resize="squash")),
    ({"do_center_crop": False}, "makes pictures that are not square"),
    ({"size": {"shortest_edge": 224, "longest_edge": 448}}, "makes pictures that are not square"),
    ({"do_resize": False}, "crops pictures without resizing them"),
    ({"max_num_patches": 256}, "cuts pictures of any shape into patches"),
    ({"size": {"height": 224, "width": 448}}, "makes pictures that are not square, which corekit's "
     "preprocessing does not do"),
    ({"rescale_factor": 2 / 255}, r"does not scale values to \[0, 1\]"),
    ({"resample": 0}, "with Pillow's filter 0"),
    ({"image_std": [0, 1, 1]}, "values of mean and of std > 0"),
    ({"size": {"width": 3}}, "cannot be read as the settings"),
])
def test_an_image_processors_settings_are_read(changes: dict[str, Any], expected: Preprocess | str,
                                               tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**PUBLISHED, **changes}))
    if isinstance(expected, Preprocess):
        assert read_preprocessor(file, ELSE) == expected
        # as a processor of pictures and captions writes it
        file.write_text(json.dumps({"image_processor": {**PUBLISHED, **changes}}))
        assert read_preprocessor(file, ELSE) == expected
    else:
        with pytest.raises(CorekitError, match=expected):
            read_preprocessor(file, ELSE)


PROCESSORS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": {}, "SiglipImageProcessor": {},
    "BitImageProcessor": {"size": {"shortest_edge": 48}, "crop_size": {"height": 64, "width": 64}},
    "ViTImageProcessor": {"resample": 2},
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_pixels_equal_transformers_to_the_bit(processor: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    theirs = getattr(transformers, processor + "Pil")(**PROCESSORS[processor])
    theirs.save_pretrained(tmp_path)
    ours = read_preprocessor(tmp_path / "preprocessor_config.json", ELSE)
    for number, (width, height) in enumerate([(1242, 375), (301, 700), (97, 96), (30, 41)]):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        expected = theirs(image, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(levels(ours, expected), ours.crop(image))
        assert (ours(image) - expected).abs().max() < 1e-5


def levels(preprocess: Preprocess, pixels: Tensor) -> Tensor:
    """uint8 of normalised pixels."""
    std, mean = (pixels.new_tensor(each).view(3, 1, 1) for each in (preprocess.std,
                                                                    preprocess.mean))
    return ((pixels * std + mean) * 255).round().to(torch.uint8)
