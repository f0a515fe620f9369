"""What transformers' image processors write beside weights, read as corekit's preprocessing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import Plain

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
SQUARE = "makes pictures that are not square"


def read_preprocessor(path: Path, otherwise: Preprocess) -> Preprocess:
    """The preprocessing of a ``preprocessor_config.json``, or of a ``processor_config.json``.

    Pictures are resized by Pillow, as transformers' processors do with ``backend="pil"``.
    ``otherwise`` counts for steps that the file says nothing of or leaves out, such as the size
    where it resizes and crops nothing.

    Raises:
        CorekitError: it is no such file, or asks for what corekit does not do: a picture that is
            not square, patches, values that are not scaled to [0, 1].
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        result = _read(settings.get("image_processor", settings), otherwise)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorekitError(
            f"{path} cannot be read as the settings of an image processor: {error}") from None
    if isinstance(result, str):
        raise CorekitError(f"{path} {result}, which corekit's preprocessing does not do: move the "
                           "file away to convert without it, and put right preprocess.json")
    return result


def _read(settings: Plain, otherwise: Preprocess) -> Preprocess | str:
    """The preprocessing, or what is in the way of it."""
    if "max_num_patches" in settings:
        return "cuts pictures of any shape into patches"
    scale = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or abs(scale * 255 - 1) > 1e-6:
        return "does not scale values to [0, 1]"
    preprocess = _square(settings, replace(otherwise, crop_rounding="down"))
    if isinstance(preprocess, str):
        return preprocess
    if settings.get("do_pad") and settings.get("image_processor_type", "").startswith("Llava"):
        preprocess = replace(preprocess, resize="pad")
    if "resample" in settings and settings.get("do_resize", True):
        if settings["resample"] not in RESAMPLE:
            return f"resizes with Pillow's filter {settings['resample']}"
        preprocess = replace(preprocess, interpolation=RESAMPLE[settings["resample"]])
    if not settings.get("do_normalize", True):
        return replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(preprocess, mean=tuple(settings.get("image_mean", preprocess.mean)),
                   std=tuple(settings.get("image_std", preprocess.std)))


def _square(settings: Plain, otherwise: Preprocess) -> Preprocess | str:
    """The preprocessing with its sizes: what is resized to what, and which square is cut out."""
    resized = settings.get("size") if settings.get("do_resize", True) else None
    cropped = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    if resized is None and cropped is None:
        return otherwise
    if resized is None:
        return "crops pictures without resizing them"
    target = _side(resized)
    crop = target if cropped is None else _side(cropped)
    if target is None or crop is None:
        return SQUARE
    # a number is the shorter side where a square is cut out, and both sides elsewhere
    is_shorter = (cropped is not None if isinstance(resized, int)
                  else resized.get("shortest_edge") is not None)
    if is_shorter and cropped is None:
        return SQUARE
    return replace(otherwise, size=crop, crop_fraction=crop / target,
                   resize="shortest" if is_shorter else "squash")


def _side(size: int | Mapping[str, int]) -> int | None:
    """Pixels of the shorter side, or of the square; None for another shape."""
    if isinstance(size, int):
        return size
    if size.get("longest_edge") is not None:
        return None
    if size.get("shortest_edge") is not None:
        return int(size["shortest_edge"])
    return int(size["height"]) if size["height"] == size["width"] else None
