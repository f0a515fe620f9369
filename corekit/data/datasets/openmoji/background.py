"""Backgrounds of OpenMoji scenes: one or two named colours and a texture."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250), "light grey": (205, 205, 205), "grey": (140, 140, 140),
    "dark grey": (78, 78, 78), "red": (214, 40, 40), "pink": (248, 164, 190),
    "orange": (245, 145, 40), "yellow": (250, 222, 70), "beige": (236, 218, 182),
    "brown": (140, 92, 52), "light green": (168, 226, 144), "green": (64, 168, 72),
    "dark green": (22, 92, 48), "turquoise": (64, 206, 196), "light blue": (162, 210, 246),
    "blue": (48, 104, 220), "dark blue": (26, 42, 122), "purple": (134, 66, 178),
    "lavender": (206, 184, 236),
}
TEXTURES = ("plain", "gradient", "striped", "checked", "dotted", "grainy")

_NAMES = tuple(COLOURS)
_VARIANTS = 16  # different masks of each texture
_JITTER = 20  # the spread of a named colour, in steps of 1/255
_DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))


@dataclass(frozen=True)
class Background:
    """A texture over two named colours; `plain` and `grainy` show the first one only."""

    texture: str
    colours: tuple[str, str]
    pixels: tuple[tuple[int, int, int], tuple[int, int, int]]
    variant: int

    def paint(self, size: int) -> Image.Image:
        """An RGB image of size x size pixels."""
        image = Image.new("RGB", (size, size), self.pixels[0])
        if self.texture != "plain":
            image.paste(self.pixels[1], (0, 0), _mask(self.texture, self.variant, size))
        return image


def draw_background(random: Random) -> Background:
    """A random background, out of six draws."""
    first, second = int(random.random() * len(_NAMES)), int(random.random() * (len(_NAMES) - 1))
    names = _NAMES[first], _NAMES[second + (second >= first)]
    texture = TEXTURES[int(random.random() * len(TEXTURES))]
    shade = _jitter(COLOURS[names[0]], random.random())
    shades = shade, _jitter(COLOURS[names[1]], random.random())
    variant = int(random.random() * _VARIANTS)
    if texture == "grainy":
        shades = shades[0], (0, 0, 0) if variant % 2 else (255, 255, 255)
    return Background(texture, names, shades, variant)


def _jitter(colour: tuple[int, int, int], draw: float) -> tuple[int, int, int]:
    code = int(draw * _JITTER**3)  # three independent shifts out of one draw
    shifts = code % _JITTER, code // _JITTER % _JITTER, code // _JITTER**2
    red, green, blue = (min(255, max(0, value + shift - _JITTER // 2))
                        for value, shift in zip(colour, shifts))
    return red, green, blue


@lru_cache(maxsize=4 * len(TEXTURES) * _VARIANTS)
def _mask(texture: str, variant: int, size: int) -> Image.Image:
    """The share of the second colour in each pixel, in integers: the same on any machine."""
    rows, columns = np.mgrid[:size, :size].astype(np.int64)
    across, down = _DIRECTIONS[variant % len(_DIRECTIONS)]
    along = across * columns + down * rows
    coarse = variant // len(_DIRECTIONS)
    if texture == "gradient":
        level = (along - along.min()) * 255 // max(1, int(along.max() - along.min()))
        return _image(255 - level if coarse else level)
    if texture == "striped":
        period = max(4, size * (abs(across) + abs(down)) // (5 if coarse else 9))
        return _image(np.where((along + variant) % period < period // 2, 255, 0))
    cell = max(2, size // (4 + variant % 8))
    if texture == "checked":
        return _image(np.where(((columns + variant) // cell + (rows + variant // 2) // cell) % 2,
                               255, 0))
    if texture == "dotted":
        shifted = columns + (rows // cell % 2) * (cell // 2) * coarse
        from_middle = (2 * (shifted % cell) - cell + 1) ** 2 + (2 * (rows % cell) - cell + 1) ** 2
        return _image(np.where(9 * from_middle <= 4 * cell**2, 255, 0))
    # the bare bits: no release changes them
    raw = np.random.Philox(key=variant).random_raw(-(-size * size // 8))
    return _image(raw.view(np.uint8)[:size * size].reshape(size, size).astype(np.int64) * 3 // 10)


def _image(levels: NDArray[np.int64]) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8))
