"""COCO's annotation files, read with every object that is damaged counted and left out."""

import hashlib
import json
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.dense.damage import Damage, clipped_box
from corekit.data.datasets.dense.object_table import ObjectColumns, ObjectTable
from corekit.data.outlines import Outline, outline
from corekit.errors import CorekitError

Name = Callable[[dict[str, Any]], str]


@dataclass
class Annotations:
    """What an annotation file says: pictures in its order, and their objects.

    Attributes:
        categories: in the order of their numbers; an object's label is the place of its own.
        pictures: as the file has them, those that are kept.
        objects: of these pictures.
        damage: what was left out, by kind; ``crowd_polygons`` alone stay.
        fingerprint: of the file's bytes.
        left_out: how many pictures were left out by their numbers.
    """

    categories: list[dict[str, Any]]
    pictures: list[dict[str, Any]]
    objects: ObjectTable
    fingerprint: str
    damage: Damage = field(default_factory=Damage)
    left_out: int = 0


def parse_file(content: bytes, where: str) -> dict[str, Any]:
    """The JSON object of an annotation file, with ``images``, ``annotations`` and ``categories``.

    Raises:
        CorekitError: it is empty, cut off, or something else.
    """
    try:
        parsed = json.loads(content)
        for key, needed in (("images", {"id"}), ("annotations", set()),
                            ("categories", {"id", "name"})):
            if not all(isinstance(each, dict) and needed <= each.keys() for each in parsed[key]):
                raise TypeError(f"its {key} are not all objects with {' and '.join(needed)}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorekitError(f"{where} is not as COCO's: {type(error).__name__}: {error}") from None
    if not parsed["images"]:
        raise CorekitError(f"{where} has no pictures")
    return dict(parsed)


def coco_number(picture: dict[str, Any]) -> int:
    """COCO's number of a picture, which files of phrases have beside one for each phrase."""
    return int(picture.get("original_id", picture["id"]))


def read_annotations(content: bytes, where: str, crowds: bool = True, unannotated: bool = True,
                     masks: bool = True, left_out: Collection[int] = ()) -> Annotations:
    """The pictures and objects of an annotation file.

    Args:
        content: of the file.
        where: its name, for messages.
        crowds: keep annotations of crowds.
        unannotated: keep pictures without any annotation.
        masks: keep the outlines.
        left_out: pictures that are not kept, by COCO's numbers.

    Raises:
        CorekitError: the file is damaged as a whole, or no picture is left.
    """
    parsed, damage = parse_file(content, where), Damage()
    try:
        categories = sorted(parsed["categories"], key=lambda item: int(item["id"]))
        labels: dict[int | None, int] = {item["id"]: place for place, item in enumerate(categories)}
        annotated = {item.get("image_id") for item in parsed["annotations"]}
        numbers: dict[int | None, int] = {}
        pictures: list[dict[str, Any]] = []
        count = 0
        for item in parsed["images"]:
            if item["id"] in numbers:
                damage.add("duplicate_picture", f"image {item['id']}")
            elif left_out and coco_number(item) in left_out:
                numbers[item["id"]] = -1
                count += 1
            elif unannotated or item["id"] in annotated:
                numbers[item["id"]] = len(pictures)
                pictures.append(item)
            else:
                numbers[item["id"]] = -1
        sizes = [(int(item["width"]), int(item["height"])) for item in pictures]
    except (ValueError, KeyError, TypeError) as error:
        raise CorekitError(f"{where} is not as COCO's: {type(error).__name__}: {error}") from None
    if not pictures:
        raise CorekitError(f"{where} has no annotated pictures")
    columns, seen = ObjectColumns(), set[int | None]()
    for item in parsed["annotations"]:
        try:
            _add(item, numbers, sizes, labels, columns, seen, crowds, masks, damage)
        except BadSampleError as error:
            damage.add(error.kind, f"annotation {item.get('id')} of image {item.get('image_id')}")
    return Annotations(categories, pictures, ObjectTable(columns, sizes),
                       hashlib.sha256(content).hexdigest(), damage, count)


def _add(item: dict[str, Any], numbers: dict[int | None, int], sizes: list[tuple[int, int]],
         labels: dict[int | None, int], columns: ObjectColumns, seen: set[int | None], crowds: bool,
         masks: bool, damage: Damage) -> None:
    """Add one annotation to the columns, or raise a BadSampleError of its kind of damage."""
    picture = numbers.get(_number(item, "image_id"))
    if picture is None:
        raise BadSampleError("unknown_picture", "")
    number = _number(item, "id")
    if number is not None and number in seen:
        raise BadSampleError("duplicate_id", "")
    seen.add(number)
    label = labels.get(_number(item, "category_id"))
    if label is None:
        raise BadSampleError("unknown_category", "")
    is_crowd = item.get("iscrowd", 0) == 1
    if picture < 0 or (is_crowd and not crowds):
        return
    try:
        left, top, width, height = (float(value) for value in item["bbox"])
        area = float(item.get("area", width * height))
    except (ValueError, KeyError, TypeError, OverflowError):
        raise BadSampleError("no_box", "") from None
    if not math.isfinite(area):
        raise BadSampleError("not_finite", "")
    box = clipped_box((left, top, left + width, top + height), *sizes[picture])
    drawn = _outline(item, sizes[picture]) if masks else None
    if is_crowd and isinstance(item.get("segmentation"), list):
        damage.add("crowd_polygons", f"annotation {number}, which is kept as it is")
    columns.add(picture, box, label, is_crowd, area, drawn)


def _number(item: dict[str, Any], key: str) -> int | None:
    """A whole number of an annotation; None where it is not one."""
    value = item.get(key)
    return value if isinstance(value, int) else None


def _outline(item: dict[str, Any], size: tuple[int, int]) -> Outline:
    try:
        drawn = outline(item.get("segmentation"))
    except (ValueError, KeyError, TypeError, OverflowError):
        raise BadSampleError("no_outline", "") from None
    if isinstance(drawn, dict) and drawn["size"] != [size[1], size[0]]:
        raise BadSampleError("mask_size", "")
    return drawn
