"""Objects in COCO's form, drawn on their picture."""

from collections.abc import Sequence

from corekit.data.drawing import draw_objects
from corekit.data.image_grid import Picture
from corekit.evaluation.detection.ground_truth import Json
from corekit.evaluation.metrics.coco import mask_api


def draw_annotations(picture: Picture, items: Sequence[Json], of_dataset: Sequence[Json]
                     ) -> Picture:
    """The picture with annotations or results on it; these with their scores."""
    names = {each["id"]: each["name"] for each in of_dataset}
    place = {number: label for label, number in enumerate(names)}
    boxes, labels, texts = [], [], []
    for item in items:
        left, top, width, height = item["bbox"]
        boxes.append((left, top, left + width, top + height))
        labels.append(place[item["category_id"]])
        score = f" {item['score']:.0%}" if "score" in item else ""
        texts.append(f"{names[item['category_id']]}{score}")
    masks = [mask_api().decode(item["segmentation"]).astype(bool) for item in items
             if "segmentation" in item]
    return draw_objects(picture, boxes, labels, texts, masks)
