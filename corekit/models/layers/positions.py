"""Position tables of images: a row for each patch of a square grid, line after line."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Interpolation = Literal["grid2d", "flat1d"]


def resample_positions(table: Tensor, grid: tuple[int, int], mode: Literal["bilinear", "bicubic"],
                       antialias: bool = False) -> Tensor:
    """A table for another grid: [1, n · n, D] to [1, rows · columns, D]."""
    side = math.isqrt(table.shape[1])
    if grid == (side, side):
        return table
    square = table.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square, grid, mode=mode, antialias=antialias)
    return resized.flatten(2).transpose(1, 2)


def resample_along_tokens(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """The same, stretched linearly along the row of all tokens, line after line.

    Apple's code does so (CoreNet, MobileCLIP). Grids with equally many tokens are the same to it.
    """
    length = math.prod(grid)
    if length == table.shape[1]:
        return table
    return F.interpolate(table.transpose(1, 2), length, mode="linear").transpose(1, 2)


def is_position_table(value: Tensor, like: Tensor) -> bool:
    """Whether a tensor is a table of a square grid, [1, n · n, D], of the same D as ``like``."""
    if value.ndim != 3 or value.shape[0] != 1 or value.shape[2] != like.shape[2]:
        return False
    return 0 < math.isqrt(value.shape[1]) ** 2 == value.shape[1]
