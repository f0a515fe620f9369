"""Attention in windows of a map (Li et al., 2022, ViTDet)."""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from corekit.models.dense.encoder import Size
from corekit.models.layers.attention import AttentionFunction, bidirectional


def windowed(grid: Size, window: int) -> AttentionFunction:
    """Every token of a map attends to those of its window of ``window`` x ``window`` cells.

    Maps are filled up with zeros at the right and below to whole windows, and what fills them up
    is attended to, as in ViTDet. A map within one window has no windows.
    """
    if max(grid) <= window:
        return bidirectional
    return partial(_windowed, grid=grid, window=window)


def _windowed(query: Tensor, key: Tensor, value: Tensor, grid: Size, window: int) -> Tensor:
    parts = [_split(each, grid, window) for each in (query, key, value)]
    return _join(bidirectional(*parts), grid, window)


def _split(x: Tensor, grid: Size, window: int) -> Tensor:
    """[B, H, L, d] to [B · windows, H, window², d]."""
    (height, width), (rows, columns) = grid, _windows(grid, window)
    batch, heads, _, channels = x.shape
    square = x.reshape(batch, heads, height, width, channels)
    square = F.pad(square, (0, 0, 0, columns * window - width, 0, rows * window - height))
    square = square.reshape(batch, heads, rows, window, columns, window, channels)
    return square.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, heads, window**2, channels)


def _join(x: Tensor, grid: Size, window: int) -> Tensor:
    """The way back."""
    rows, columns = _windows(grid, window)
    _, heads, _, channels = x.shape
    square = x.reshape(-1, rows, columns, heads, window, window, channels)
    square = square.permute(0, 3, 1, 4, 2, 5, 6)
    square = square.reshape(-1, heads, rows * window, columns * window, channels)
    return square[:, :, :grid[0], :grid[1]].flatten(2, 3)


def _windows(grid: Size, window: int) -> Size:
    """Rows and columns of windows."""
    return math.ceil(grid[0] / window), math.ceil(grid[1] / window)
