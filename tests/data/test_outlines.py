"""Polygons and run lengths become the masks that COCO's package makes of them."""

from typing import Any

import numpy as np
import pytest

from corekit.data.outlines import Outlines, decode_run_lengths, outline, run_lengths

mask_functions = pytest.importorskip("pycocotools.mask")


def polygon(draw: np.random.Generator) -> list[float]:
    """Three to eight corners, some outside of a picture of 40 x 30 pixels."""
    points = draw.uniform(-8, 48, (int(draw.integers(3, 9)), 2))
    return [float(value) for value in points.ravel()]


def by_pycocotools(polygons: list[list[float]], height: int, width: int) -> Any:
    encoded = mask_functions.merge(mask_functions.frPyObjects(polygons, height, width))
    return mask_functions.decode(encoded)


def test_polygons_are_drawn_as_cocos_package_draws_them() -> None:
    draw = np.random.default_rng(0)
    wrong = pixels = 0
    for _ in range(100):
        polygons = [polygon(draw) for _ in range(int(draw.integers(1, 3)))]
        mask = Outlines.of([outline(polygons)], 30, 40).draw()[0]
        wanted = by_pycocotools(polygons, 30, 40)
        wrong, pixels = wrong + int((mask != wanted).sum()), pixels + int(wanted.sum())
    assert wrong == 0, f"{wrong} of {pixels}"


def test_run_lengths_are_cocos() -> None:
    draw = np.random.default_rng(1)
    for share in (0.0, 0.002, 0.3, 0.9, 1.0):
        mask = (draw.random((70, 50)) < share).astype(np.uint8)
        ours = run_lengths(mask)
        assert np.array_equal(decode_run_lengths(ours), mask)
        theirs = mask_functions.encode(np.asfortranarray(mask))
        assert mask_functions.frPyObjects(ours, 70, 50) == theirs
        compressed = outline({**theirs, "counts": theirs["counts"].decode()})
        assert compressed == ours == outline(theirs), "as others store them"


def test_a_piece_of_a_picture_holds_what_the_whole_one_does_there() -> None:
    draw = np.random.default_rng(2)
    for _ in range(50):
        polygons = [polygon(draw)]
        outlines = Outlines.of([outline(polygons), run_lengths(by_pycocotools(polygons, 30, 40))],
                               30, 40)
        whole = outlines.draw()
        part = outlines.crop(5, -4, 33, 20).draw()
        assert part.shape == (2, 24, 28)
        assert not part[:, :4].any(), "above the picture"
        assert np.array_equal(part[1, 4:], whole[1, :20, 5:33])
        assert (part[0, 4:] != whole[0, :20, 5:33]).sum() <= 12, "cut edges may round otherwise"
        flipped = outlines.flip().flip().resize(60, 80).resize(30, 40)
        assert np.array_equal(flipped.draw()[1], whole[1])
        assert np.array_equal(outlines.flip().draw()[1], whole[1, :, ::-1])


@pytest.mark.parametrize("wrong", [[], [[1, 2, 3, 4]], [[0, 0, 1, 1, float("nan"), 2]], [[1, "a"]],
                                   {"size": [2, 2], "counts": [3]}, {"size": [2, 2]},
                                   {"size": [2, 2], "counts": "32"}, {"size": [9, 9], "counts": ""},
                                   {"size": [2, 2], "counts": [6, -2]},
                                   {"size": [2, 2], "counts": [1.5, 2.5]}, [[0, 0, 1e9, 1, 2, 2]],
                                   "polygon", {"size": [0, 0], "counts": []},
                                   {"size": [2, 2], "counts": "\x01"}])
def test_what_is_no_outline_is_refused(wrong: object) -> None:
    with pytest.raises((ValueError, KeyError)):
        outline(wrong)
