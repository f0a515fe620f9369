"""Small data sets in the layouts of the large ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from corekit.data.outlines import run_lengths

WIDTH, HEIGHT = 60, 40


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Write a picture of noise, which a second compression would change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_map(path: Path, numbers: list[int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Any:
    """Write a PNG with a stripe of each number; uint8 [H, W]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.arange(size[0]) * len(numbers) // size[0]
    pixels = np.tile(np.array(numbers, np.uint8)[columns], (size[1], 1))
    Image.fromarray(pixels).save(path)
    return pixels


def box_polygon(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """A rectangle as COCO's segmentation."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def annotation(number: int, image: int, category: int, box: list[float],
               **more: object) -> dict[str, Any]:
    """An object of COCO with a rectangle for its outline."""
    return {"id": number, "image_id": image, "category_id": category, "bbox": box,
            "area": box[2] * box[3] - 1, "iscrowd": 0, "segmentation": box_polygon(*box), **more}


def crowd_mask() -> Any:
    """uint8 [HEIGHT, WIDTH]: a crowd on the right."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:30, 40:] = 1
    return mask


def instances() -> dict[str, Any]:
    """Four pictures: two objects and a crowd, nothing, a crowd alone, one object."""
    crowd = {"iscrowd": 1, "segmentation": run_lengths(crowd_mask())}
    names = ("c", "a", "d", "b")
    return {
        "images": [{"id": 10 * place, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
                   for place, name in enumerate(names, 1)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"},
                       {"id": 13, "name": "stop sign"}],
        "annotations": [
            annotation(3, 10, 90, [30.5, 10, 20, 25.25]), annotation(1, 40, 13, [0, 0, 60, 40]),
            annotation(2, 10, 1, [2, 3, 10, 30]),
            annotation(7, 10, 1, [40, 5, 20, 25], **crowd),
            annotation(8, 30, 1, [40, 5, 20, 25], **crowd)],
    }


def coco(root: Path, content: Mapping[str, Any], split: str = "train2017",
         folder: str = "") -> None:
    """Write COCO's layout, with ``folder`` images/ between or not."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(content))
    for item in content["images"]:
        picture(root / folder / split / item["file_name"])
