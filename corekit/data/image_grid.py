"""Pictures for people: images in a grid, each with a few lines of text below it."""

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL, LINE = 160, 13  # pixels: width of an image in the grid, height of a line of text


def captioned_grid(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], columns: int = 4,
                   lines: int = 5) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: uint8 images [H, W, 3] in rows, captions wrapped below them (a newline
    starts a new line).
    """
    rows = -(-len(images) // columns)
    height = CELL + lines * LINE + 8
    sheet = Image.new("RGB", (columns * (CELL + 8), rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for at, (image, caption) in enumerate(zip(images, captions)):
        left, top = at % columns * (CELL + 8) + 4, at // columns * height + 4
        sheet.paste(Image.fromarray(image).resize((CELL, CELL)), (left, top))
        wrapped = [
            piece for line in caption.split("\n") for piece in (textwrap.wrap(line, 28) or [""])
        ][:lines]
        for number, line in enumerate(wrapped):
            draw.text((left, top + CELL + 2 + number * LINE), line, fill="black", font=font)
    return np.asarray(sheet)
