"""What transformers' image processors write beside weights, read as corekit's preprocessing."""

import json
from dataclasses import replace
from pathlib import Path

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import Plain

RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_preprocessor(path: Path, otherwise: Preprocess) -> Preprocess:
    """The preprocessing of a ``preprocessor_config.json``.

    ``otherwise`` counts for steps that the file says nothing of or leaves out, such as the size
    where it resizes and crops nothing.

    Raises:
        CorekitError: it is no such file, or asks for what corekit does not do: a crop larger than
            the picture, a picture that is not square, values that are not scaled to [0, 1].
    """
    try:
        result = _read(json.loads(path.read_text(encoding="utf-8")), otherwise)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorekitError(
            f"{path} cannot be read as the settings of an image processor: {error}") from None
    if isinstance(result, str):
        raise CorekitError(f"{path} {result}, which corekit's preprocessing does not do: move the "
                           "file away to convert without it, and put right preprocess.json")
    return result


def _read(settings: Plain, otherwise: Preprocess) -> Preprocess | str:
    """The preprocessing, or what is in the way of it."""
    scale = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or abs(scale * 255 - 1) > 1e-6:
        return "does not scale values to [0, 1]"
    sides = []
    for key, switch in (("size", "do_resize"), ("crop_size", "do_center_crop")):
        if settings.get(switch, True) and settings.get(key) is not None:
            side = _side(settings[key])
            if side is None:
                return "makes pictures that are not square"
            sides.append(side)
    if sides and sides[-1] > sides[0]:
        return f"resizes to {sides[0]} pixels and crops {sides[-1]}"
    preprocess = otherwise
    if sides:
        preprocess = replace(preprocess, size=sides[-1], crop_fraction=sides[-1] / sides[0])
    if "resample" in settings and settings.get("do_resize", True):
        if settings["resample"] not in RESAMPLE:
            return f"resizes with Pillow's filter {settings['resample']}"
        preprocess = replace(preprocess, interpolation=RESAMPLE[settings["resample"]])
    if not settings.get("do_normalize", True):
        return replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(preprocess, mean=tuple(settings.get("image_mean", preprocess.mean)),
                   std=tuple(settings.get("image_std", preprocess.std)))


def _side(size: int | dict[str, int]) -> int | None:
    """Pixels of the shorter side, or of the square; None for another shape."""
    if isinstance(size, int):
        return size
    if "shortest_edge" in size:
        return int(size["shortest_edge"])
    return int(size["height"]) if size["height"] == size["width"] else None
