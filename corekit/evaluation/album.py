"""Pictures of an evaluation to look at: the truth, and beside it what the model gives."""

import numpy as np

from corekit.data.image_grid import Picture, captioned_grid

PAIRS = 2  # in a row


class Album:
    """Collects pairs of pictures, up to a number of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.drawn: list[Picture] = []
        self.captions: list[str] = []

    @property
    def is_full(self) -> bool:
        return len(self.drawn) >= 2 * self.most

    def add(self, key: str, truth: Picture, prediction: Picture) -> None:
        """Add a pair."""
        self.drawn += [_square(truth), _square(prediction)]
        self.captions += [f"{key}: truth", f"{key}: prediction"]

    def pictures(self) -> dict[str, Picture]:
        """All pairs in one picture, by its title; {} where there are none."""
        if not self.drawn:
            return {}
        return {"predictions": captioned_grid(self.drawn, self.captions, 2 * PAIRS, lines=2)}


def _square(picture: Picture) -> Picture:
    """The picture with white to its right or below it."""
    height, width = picture.shape[:2]
    side = max(height, width)
    return np.pad(picture, ((0, side - height), (0, side - width), (0, 0)), constant_values=255)
