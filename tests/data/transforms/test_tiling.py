"""Padded and tiled pictures against transformers' LLaVA and LLaVA-NeXT, to the bit."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.tv_tensors import BoundingBoxes

from corekit.data.transforms import preprocess as module
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.data.transforms.tiling import best_grid, centred

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.27, 0.26, 0.28)
SHAPES = [(64, 64), (90, 90), (640, 480), (301, 700), (65, 40), (33, 20)]
LONG = [(1, 1), (1, 50), (7, 1500), (1500, 6)]
RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


def settings(size: int, interpolation: str, **more: Any) -> dict[str, Any]:
    return {"size": {"shortest_edge": size}, "crop_size": size, "image_mean": MEAN,
            "resample": RESAMPLE[interpolation], "do_rescale": False, "do_normalize": False, **more}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [32, 63])
def test_padded_pixels_equal_those_of_llava(interpolation: str, size: int) -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    arguments = settings(size, interpolation, do_pad=True)
    theirs = transformers.LlavaImageProcessorPil(**arguments)
    by_torch = transformers.LlavaImageProcessor(**arguments)
    ours = Preprocess(size, interpolation, MEAN, STD, resize="pad")
    for shape in [*SHAPES, *LONG]:
        pixels = ours.crop(picture(*shape))
        expected = theirs(picture(*shape))["pixel_values"][0]
        assert np.array_equal(pixels.numpy(), expected), shape
        other = torch.as_tensor(by_torch(picture(*shape))["pixel_values"][0])
        assert (pixels.int() - other.int()).abs().max() <= 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("tiles", [4, 9])
def test_tiles_equal_those_of_llava_next(interpolation: str, tiles: int) -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    grids = [[32 * rows, 32 * columns] for rows in range(1, tiles + 1)
             for columns in range(1, tiles // rows + 1)]
    theirs = transformers.LlavaNextImageProcessorPil(**settings(
        32, interpolation, image_grid_pinpoints=grids, do_pad=False))
    # LLaVA-NeXT fills up with black, and counts no pixels of a side that it rounds to 0
    ours = Preprocess(32, interpolation, (0.0, 0.0, 0.0), STD, resize="squash", tiles=tiles)
    for shape in SHAPES:
        pixels = ours.tiles_of(picture(*shape))
        expected = np.asarray(theirs(picture(*shape))["pixel_values"][0])
        # a grid of one tile is the picture itself, which we do not give twice
        assert np.array_equal(pixels, expected[:1] if len(expected) == 2 else expected), shape


def test_tiles_are_whole_then_line_by_line_and_padded_with_the_mean() -> None:
    preprocess = Preprocess(8, "bicubic", MEAN, STD, resize="pad", tiles=6)
    image = picture(24, 11)
    tiles = preprocess.tiles_of(image)
    assert tiles.shape == (7, 3, 8, 8)
    assert torch.equal(tiles[0], preprocess.crop(image))
    canvas = torch.cat([torch.cat([*line], -1) for line in (tiles[1:4], tiles[4:])], -2)
    assert torch.equal(canvas[:, 2:13], module.to_tensor(image))
    beside = torch.cat([canvas[:, :2], canvas[:, 13:]], 1)
    assert torch.equal(beside, torch.tensor([122, 116, 104])[:, None, None].expand_as(beside))


@pytest.mark.parametrize(("shape", "most", "grid"), [
    ((32, 32), 9, (1, 1)), ((10, 32), 9, (1, 1)), ((33, 20), 9, (1, 2)), ((33, 33), 9, (2, 2)),
    ((33, 33), 3, (1, 1)), ((64, 128), 9, (4, 2)), ((640, 480), 6, (2, 3)),
    ((480, 640), 6, (3, 2)), ((640, 480), 4, (2, 2)), ((9000, 3), 9, (1, 9)),
    ((640, 480), 1, (1, 1)), ((200, 100), 2, (1, 2)),
])
def test_the_grid_keeps_the_most_pixels_with_the_fewest_tiles(shape: tuple[int, int], most: int,
                                                              grid: tuple[int, int]) -> None:
    assert best_grid(*shape, 32, most) == grid


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 3)])
def test_a_huge_picture_is_made_smaller_before_it_is_padded(
        shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []

    def watched(image: Image.Image, width: int, *rest: Any) -> Image.Image:
        sides.append(width)
        return centred(image, width, *rest)

    monkeypatch.setattr(module, "LARGEST_SQUARE", 1000)
    monkeypatch.setattr(module, "centred", watched)
    preprocess = Preprocess(32, "bicubic", MEAN, STD, resize="pad", tiles=4)
    assert preprocess.tiles_of(picture(*shape)).shape == (5, 3, 32, 32)
    assert sides == [1000]


def test_boxes_move_with_the_padded_picture() -> None:
    crop = CenterCrop(Preprocess(20, "bicubic", MEAN, STD, resize="pad"))
    boxes = BoundingBoxes([[4.0, 2.0, 40.0, 20.0]], format="XYXY", canvas_size=(20, 40))
    output = crop({"image": Image.new("RGB", (40, 20)), "boxes": boxes})
    assert output["boxes"].tolist() == [[2.0, 6.0, 20.0, 15.0]]
