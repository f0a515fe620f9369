"""What a model finds in a picture, drawn on it."""

import colorsys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from corekit.data.image_grid import Picture

Mask = NDArray[np.bool_]  # [H, W]
STRENGTH = 0.5  # of a colour over the picture
LEAST = 256  # pixels of the shorter side; smaller pictures are drawn larger
LEGEND = 12  # names of classes that a legend holds at most


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a class: neighbouring numbers have very different ones."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.85 - 0.3 * (number // 8 % 2), 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_objects(picture: Picture, boxes: Sequence[Sequence[float]], labels: Sequence[int],
                 names: Sequence[str], masks: Iterable[Mask] = ()) -> Picture:
    """The picture with a box and a name for each object, and its mask where there are any.

    ``boxes`` are x1 y1 x2 y2 in pixels, ``labels`` choose the colours, and ``names`` are what is
    written; later objects lie over earlier ones.
    """
    pixels = picture.astype(np.float32)
    for mask, label in zip(masks, labels):
        _tint(pixels, mask, label)
    image, factor = _canvas(pixels)
    draw, line = ImageDraw.Draw(image), max(1, min(image.size) // 200)
    for box, label, name in zip(boxes, labels, names):
        left, top, right, bottom = (factor * edge for edge in box)
        right, bottom = max(left, right - 1), max(top, bottom - 1)
        draw.rectangle((left, top, right, bottom), outline=colour(label), width=line)
        _write(image, (left, top), name, colour(label))
    return np.asarray(image)


def draw_classes(picture: Picture, classes: NDArray[np.integer[Any]],
                 names: Sequence[str]) -> Picture:
    """The picture in the colours of its pixels' classes, with the names of the largest ones.

    ``classes`` [H, W] are places in ``names``; other numbers stay uncoloured, and so does a class
    called background.
    """
    present, counts = np.unique(classes, return_counts=True)
    order = [int(number) for number in present[np.argsort(-counts, kind="stable")]
             if number < len(names) and names[number] != "background"]
    pixels = picture.astype(np.float32)
    for number in order:
        _tint(pixels, classes == number, number)
    named = order[:LEGEND]
    return draw_lines(pixels.astype(np.uint8), [names[number] for number in named], named)


def draw_lines(picture: Picture, lines: Sequence[str], numbers: Sequence[int]) -> Picture:
    """The picture with lines of text in the upper left corner, each in the colour of a class."""
    image, _ = _canvas(picture)
    height = _font(image).size + 4
    for place, (line, number) in enumerate(zip(lines, numbers)):
        _write(image, (1, 1 + place * height), line, colour(number))
    return np.asarray(image)


def _tint(pixels: NDArray[np.float32], mask: Mask, number: int) -> None:
    pixels[mask] = (1 - STRENGTH) * pixels[mask] + STRENGTH * np.array(colour(number))


def _canvas(pixels: NDArray[Any]) -> tuple[Image.Image, int]:
    """The picture to draw on, and how many times larger than it was."""
    factor = -(-LEAST // min(pixels.shape[:2]))
    return Image.fromarray(pixels.astype(np.uint8).repeat(factor, 0).repeat(factor, 1)), factor


def _font(image: Image.Image) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(11, min(image.size) // 32))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _write(image: Image.Image, place: tuple[float, float], text: str,
           background: tuple[int, int, int]) -> None:
    """Black letters on a colour, inside the picture."""
    draw, font = ImageDraw.Draw(image), _font(image)
    left, top, right, bottom = draw.textbbox(place, text, font=font)
    width, height = image.size
    across, down = min(0, width - 1 - right), min(0, height - 1 - bottom)
    across, down = max(across, -left), max(down, -top)
    draw.rectangle((left + across - 1, top + down - 1, right + across + 1, bottom + down + 1),
                   fill=background)
    draw.text((place[0] + across, place[1] + down), text, fill="black", font=font)
