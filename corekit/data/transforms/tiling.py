"""Grids of tiles over a picture, so that a model of small squares sees the details of a large one.

The rule is that of LLaVA-NeXT (Liu et al., 2024), of which one square is a grid too.
"""

import math
from functools import lru_cache

from PIL import Image
from torch import Tensor

Colour = tuple[int, int, int]
MOST_TILES = 100  # of a picture


def best_grid(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """(rows, columns) of the tiles for a picture of this size.

    Of all grids with at most ``most`` tiles it is the one that leaves the picture the most of its
    own pixels, and of those the one with the fewest tiles. So a picture that is no larger than one
    tile, or that more of them would make no larger, gets a single one.
    """
    def judge(grid: tuple[int, int]) -> tuple[float, int]:
        rows, columns = grid
        return min(1.0, columns * side / width, rows * side / height), -rows * columns

    return max(_grids(most), key=judge)


@lru_cache(maxsize=8)
def _grids(most: int) -> list[tuple[int, int]]:
    return [(rows, columns) for rows in range(1, most + 1)
            for columns in range(1, most // rows + 1)]


def fitted(image: Image.Image, width: int, height: int, resample: Image.Resampling,
           colour: Colour) -> Image.Image:
    """The whole picture as large as it fits into a canvas, in the middle of a colour."""
    across, down = width / image.width, height / image.height
    size = ((width, min(height, math.ceil(image.height * across))) if across < down else
            (min(width, math.ceil(image.width * down)), height))
    return centred(image.convert("RGB").resize(size, resample), width, height, colour)


def centred(image: Image.Image, width: int, height: int, colour: Colour) -> Image.Image:
    """A canvas of a colour with the picture in its middle, half a pixel further left and up."""
    canvas = Image.new("RGB", (width, height), colour)
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


def cut_tiles(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """The tiles [rows x columns, 3, H, W], line by line, of a canvas [3, rows x H, columns x W]."""
    height, width = pixels.shape[1] // rows, pixels.shape[2] // columns
    lines = pixels.view(3, rows, height, columns, width)
    return lines.permute(1, 3, 0, 2, 4).reshape(-1, 3, height, width)
