"""Pictures for people: images in a grid, each with a few lines of text below it."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from corekit.data.datasets.base import Batch

if TYPE_CHECKING:
    from corekit.data.fields import Field

Picture = NDArray[np.uint8]  # [H, W, 3]
CELL, LINE = 160, 13  # pixels: width of an image in the grid, height of a line of text


def captioned_grid(images: Sequence[Picture], captions: Sequence[str], columns: int = 4,
                   lines: int = 5) -> Picture:
    """Images in rows, with captions wrapped below them; a newline starts a new line."""
    rows = -(-len(images) // columns)
    height = CELL + lines * LINE + 8
    sheet = Image.new("RGB", (columns * (CELL + 8), rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (image, caption) in enumerate(zip(images, captions)):
        left, top = index % columns * (CELL + 8) + 4, index // columns * height + 4
        sheet.paste(Image.fromarray(image).resize((CELL, CELL)), (left, top))
        wrapped = [piece for line in caption.split("\n")
                   for piece in textwrap.wrap(line, 28) or [""]]
        for number, line in enumerate(wrapped[:lines]):
            draw.text((left, top + CELL + 2 + number * LINE), line, fill="black", font=font)
    return np.asarray(sheet)


def batch_grid(batch: Batch, fields: Mapping[str, "Field"], most: int) -> Picture | None:
    """The first images of a batch as training sees them; None where it has none.

    Of a sample with pictures of its own it is the first, of which there may be none.
    """
    from corekit.data.loading.collate import cut

    entry = next((name for name in ("image", "pictures") if name in batch), None)
    if entry is None or not len(batch[entry]):
        return None
    images, captions = [], []
    for number in range(min(most, len(batch["key"]))):
        sample = cut(batch, number, number + 1, fields)
        if not len(sample[entry]):
            continue
        pixels = sample[entry][0]
        if str(getattr(pixels, "dtype", "")) != "torch.uint8":
            return None
        boxes = [box for name, field in fields.items() if field.geometry == "boxes"
                 for box in sample[name]]
        images.append(outlined(pixels.permute(1, 2, 0).numpy(), boxes))
        captions.append(str(sample["caption" if "caption" in sample else "key"][0]))
    return captioned_grid(images, captions) if images else None


def outlined(image: Picture, boxes: Sequence[Sequence[float]]) -> Picture:
    """The image with a line around each box, x1 y1 x2 y2 in pixels."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for left, top, right, bottom in np.asarray(boxes, dtype=float).tolist():
        draw.rectangle((left, top, right - 1, bottom - 1), outline="red")
    return np.asarray(picture)
