"""Encoded pictures, decoded when pixels are needed, and smaller where that is enough."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from corekit.data.datasets.base import BadSampleError

MAX_PIXELS = 100_000_000  # a larger picture is taken for a decompression bomb
# Pillow knows others, some of which run programs
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class LazyJpeg(JpegImageFile):
    """A JPEG picture that is decoded when its pixels are first asked for.

    It is a Pillow image like any other; until then, ``shrink`` may choose to decode it smaller.

    Raises:
        BadSampleError: from whatever first asks for the pixels, where the bytes are bad.
    """

    where = ""

    def load(self):  # type: ignore[no-untyped-def]  # what it gives has no public name
        """Decode, if that has not been done."""
        try:
            return super().load()
        except MemoryError:
            raise
        # bad bytes raise anything in Pillow: OSError, SyntaxError, struct.error, ...
        except Exception as error:
            raise BadSampleError("image", f"{self.where}: {error}") from None

    def shrink(self, at_most: int) -> int:
        """Decode at 1/8, 1/4 or 1/2 of the size, the smallest that is at least ``1 / at_most``.

        libjpeg does it in the inverse cosine transform, which then gives fewer pixels and takes
        less time.

        Returns:
            the factor that the size is divided by, rounded up; 1 where it stays, as once pixels
            were asked for.
        """
        factor = next((factor for factor in (8, 4, 2) if factor <= at_most), 1)
        smaller = self.width // factor, self.height // factor
        drafted = factor > 1 and min(smaller) > 0 and self.draft("RGB", smaller)
        return factor if drafted else 1


def decode_image(content: bytes, where: str) -> Image.Image:
    """An RGB picture of encoded bytes; JPEGs are decoded later, when pixels are asked for.

    That of a JPEG keeps its bytes as ``jpeg``, so that it can be stored again without loss.

    Raises:
        BadSampleError: ``image``: not a picture, or cut off; ``bomb``: more than ``MAX_PIXELS``
            pixels.
    """
    try:
        with warnings.catch_warnings():
            # of odd metadata and of sizes that the next lines judge
            warnings.simplefilter("ignore")
            if content.startswith(b"\xff\xd8\xff"):
                image: Image.Image = LazyJpeg(io.BytesIO(content))
                image.where = where  # type: ignore[attr-defined]
            else:
                image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise BadSampleError("bomb", f"{where}: {image.width} x {image.height} pixels")
            if isinstance(image, LazyJpeg):
                rgb = image if image.mode == "RGB" else image.convert("RGB")
                rgb.jpeg = content  # type: ignore[attr-defined]
                return rgb
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            return _eight_bits(image).convert("RGB")
    except (BadSampleError, MemoryError):
        raise
    except UnidentifiedImageError:
        begins = f"it begins with {content[:24]!r}" if content else "it is empty"
        raise BadSampleError("image", f"{where}: no picture in {', '.join(FORMATS)}: {begins}"
                             ) from None
    except Image.DecompressionBombError:
        raise BadSampleError("bomb", f"{where}: a picture too large to decode") from None
    except Exception as error:  # bad bytes raise anything in Pillow
        raise BadSampleError("image", f"{where}: {error}") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, which Pillow would cut off at 255, in 8.

    That is whole numbers up to 65,535, or fractions of 1; other numbers up to 255 stay as they are.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image)
    least, most = levels.min(initial=0), levels.max(initial=0)
    if not 0 <= least <= most < (256 if image.mode == "F" else 65536):  # also of NaN
        raise ValueError(f"levels of grey from {least:g} to {most:g}: white is not known")
    if image.mode == "F" and most <= 1:
        return Image.fromarray((levels * 255).round().astype(np.uint8))
    return Image.fromarray((levels.astype(np.int64) >> 8).astype(np.uint8)) if most > 255 else image
