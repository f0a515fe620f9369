"""What a data set says of the objects in its pictures, as COCO's annotations."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.outlines import mask_functions
from corekit.errors import CorekitError
from corekit.evaluation.metrics.coco import Rle

Json = dict[str, Any]


def categories(dataset: Source) -> list[Json]:
    """COCO's categories of a data set: their own numbers where it has them, else from 1 on."""
    names = dataset_info(dataset).class_names
    ids = getattr(dataset, "category_ids", range(1, len(names) + 1))
    return [{"id": int(number), "name": name} for number, name in zip(ids, names)]


def image_id(sample: Mapping[str, Any], position: int) -> int:
    """The number of a picture: its own where the data set gives one, else from 1 on."""
    return int(sample.get("image_id", position + 1))


def picture_truth(sample: Mapping[str, Any], number: int, ids: Sequence[int]) -> bytes:
    """One picture and what is in it, as JSON: COCO's image and its annotations."""
    height, width = sample["size"]
    image = {"id": number, "file_name": sample["key"], "width": width, "height": height}
    return json.dumps([image, annotations(sample, number, ids)]).encode()


def coco_content(pictures: Iterable[bytes], of_dataset: Sequence[Json]) -> Json:
    """The content of COCO's annotation file, of pictures as ``picture_truth`` gives them."""
    images: list[Json] = []
    objects: list[Json] = []
    for text in filter(None, pictures):
        image, in_image = json.loads(text)
        images.append(image)
        objects += in_image
    numbered = [{"id": number, **each} for number, each in enumerate(objects, 1)]
    return {"images": images, "annotations": numbered, "categories": [*of_dataset]}


def annotations(sample: Mapping[str, Any], number: int, ids: Sequence[int]) -> list[Json]:
    """The objects of one sample, in pixels of its picture.

    ``area`` is the sample's own in ``areas``, else that of the mask, else that of the box.
    """
    boxes = np.asarray(sample["boxes"], dtype=np.float64).reshape(-1, 4)
    masks = None
    if "masks" in sample:
        # stored as polygons or run lengths, or pixels
        as_json = getattr(sample["masks"], "as_json", lambda: sample["masks"])
        masks = [rle(mask, sample["size"]) for mask in as_json()]
    crowds = np.asarray(sample.get("iscrowd", np.zeros(len(boxes)))).tolist()
    areas = sample.get("areas")
    if areas is None:
        sides = boxes[:, 2:] - boxes[:, :2]
        areas = sides.prod(1) if masks is None else [mask_functions().area(mask) for mask in masks]
    items: list[Json] = []
    for place, (box, label) in enumerate(zip(boxes.tolist(), sample["box_labels"])):
        left, top, right, bottom = box
        if not 0 <= int(label) < len(ids):
            raise CorekitError(f"{sample['key']}: a box has the label {int(label)}, but its data "
                               f"set has {len(ids)} class names")
        items.append({"image_id": number, "category_id": ids[int(label)],
                      # float32 has the decimals of an annotation file, and some of its own
                      "bbox": [round(value, 3) for value in (left, top, right - left,
                                                             bottom - top)],
                      "area": float(areas[place]), "iscrowd": int(crowds[place]),
                      **({} if masks is None else {"segmentation": masks[place]})})
    return items


def rle(mask: object, size: tuple[int, int]) -> Rle:
    """COCO's run lengths, as JSON has them, of a mask [H, W], polygons, or run lengths."""
    api = mask_functions()
    if isinstance(mask, Mapping) and isinstance(mask["counts"], (str, bytes)):
        encoded: Rle = dict(mask)
    elif isinstance(mask, Mapping):
        encoded = api.frPyObjects(dict(mask), *size)
    elif isinstance(mask, (list, tuple)):
        encoded = api.merge(api.frPyObjects(list(mask), *size))
    else:
        pixels: NDArray[np.uint8] = np.asfortranarray(np.asarray(mask, dtype=np.uint8))
        encoded = api.encode(pixels)
    counts = encoded["counts"]
    return {"size": [int(side) for side in encoded["size"]],
            "counts": counts.decode() if isinstance(counts, bytes) else counts}
