"""Position tables of images: a row for each patch of a square grid, line after line, and how they fit another grid."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def stretched(table: Tensor, grid: tuple[int, int], mode: Literal["bilinear", "bicubic"], antialias: bool = False) -> Tensor:
    """The positions of a square grid, [1, n · n, D], as they are for another one (rows, columns): [1, rows · columns, D]."""
    side = math.isqrt(table.shape[1])
    if grid == (side, side):
        return table
    square = table.transpose(1, 2).reshape(1, -1, side, side)
    return F.interpolate(square, grid, mode=mode, antialias=antialias).flatten(2).transpose(1, 2)


def is_table(value: Tensor, like: Tensor) -> bool:
    """Whether a tensor is a table of a square grid, [1, n · n, D] of the same D as ``like``."""
    return value.ndim == 3 and (value.shape[0], value.shape[2]) == (1, like.shape[2]) and (
        0 < math.isqrt(value.shape[1]) ** 2 == value.shape[1])
