"""Attention in windows, against a loop over windows."""

import pytest
import torch
import torch.nn.functional as F

from corekit.models.dense.windows import windowed
from corekit.models.layers.attention import bidirectional


@pytest.mark.parametrize(("grid", "window"), [((5, 7), 3), ((4, 6), 2), ((3, 8), 5)])
def test_tokens_attend_within_their_window(grid: tuple[int, int], window: int) -> None:
    parts = [torch.rand(2, 3, grid[0] * grid[1], 4, dtype=torch.float64) for _ in range(3)]
    actual = windowed(grid, window)(*parts).unflatten(2, grid)
    squares = [F.pad(part.unflatten(2, grid), (0, 0, 0, window, 0, window)) for part in parts]
    for top in range(0, grid[0], window):
        for left in range(0, grid[1], window):
            query, key, value = (square[:, :, top:top + window, left:left + window].flatten(2, 3)
                                 for square in squares)
            weights = (query @ key.transpose(2, 3) / 2).softmax(3)
            expected = (weights @ value).unflatten(2, (window, window))
            own = actual[:, :, top:top + window, left:left + window]
            assert torch.allclose(own, expected[:, :, :own.shape[2], :own.shape[3]])


def test_a_map_within_a_window_has_no_windows() -> None:
    assert windowed((5, 7), 7) is bidirectional
