"""A source without files."""

from typing import Any

import numpy as np
from PIL import Image


class Noise:
    """150 pictures in three shards, each of noise of its own, and its number for a label.

    Args:
        sides: from where to where the sides of the pictures go, each of its own shape; None: all
            are 60 high and 50 wide.
    """

    fields = ("image", "label")
    shard_sizes = np.array([40, 60, 50])

    def __init__(self, sides: tuple[int, int] | None = None) -> None:
        self.sides = sides

    def read(self, shard: int, first: int, count: int) -> list[int]:
        begin = int(self.shard_sizes[:shard].sum()) + first
        return list(range(begin, begin + count))

    def decode(self, handle: int) -> dict[str, Any]:
        generator = np.random.default_rng(handle)
        height, width = (60,
                         50) if self.sides is None else generator.integers(*self.sides, 2).tolist()
        noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return {"key": str(handle), "image": Image.fromarray(noise), "label": handle}
