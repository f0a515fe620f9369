"""Objects in COCO's form, drawn on their picture."""

from collections.abc import Mapping, Sequence

from corekit.data.drawing import draw_objects
from corekit.data.image_grid import Picture
from corekit.data.outlines import mask_functions
from corekit.evaluation.detection.ground_truth import Json


def together(results: Mapping[str, Sequence[Json]]) -> list[Json]:
    """Results of boxes with those of masks, where there are any."""
    items = [{**each} for each in results["box"]]
    for item, mask in zip(items, results.get("mask", ())):
        item.update(mask)
    return items


def draw_annotations(picture: Picture, items: Sequence[Json], of_dataset: Sequence[Json]
                     ) -> Picture:
    """The picture with annotations or results on it, these with their scores; first ones on top."""
    items = items[::-1]
    names = {each["id"]: each["name"] for each in of_dataset}
    place = {number: label for label, number in enumerate(names)}
    boxes, labels, texts = [], [], []
    for item in items:
        left, top, width, height = item["bbox"]
        boxes.append((left, top, left + width, top + height))
        labels.append(place[item["category_id"]])
        score = f" {item['score']:.0%}" if "score" in item else ""
        texts.append(f"{names[item['category_id']]}{score}")
    # one at a time: 100 of a large picture would be a gigabyte
    masks = (mask_functions().decode(item["segmentation"]).astype(bool) for item in items
             if "segmentation" in item)
    return draw_objects(picture, boxes, labels, texts, masks)
