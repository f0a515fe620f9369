"""What a model detects in a picture, in pixels of the picture itself."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from corekit.data.loading.whole_picture import Size, WholePicture
from corekit.evaluation.detection.ground_truth import Json
from corekit.evaluation.detection.paste import in_picture, pasted, pasted_then_resized

Paste = Literal["own", "seen"]


def found_objects(detected: Mapping[str, Tensor], resize: WholePicture, own: Size,
                  paste: Paste = "own", with_masks: bool = True) -> dict[str, list[Json]]:
    """COCO's results of one picture, of kind ``box`` and perhaps ``mask``, without classes.

    Args:
        detected: what a model's ``detect`` gives of it.
        resize, own: how the picture was resized, and its own size.
        paste: at which size masks are pasted, the picture's own or the one that the model saw.
        with_masks: whether masks are wanted.
    """
    scores = [{"score": score} for score in detected["scores"].double().tolist()]
    seen = detected["boxes"].float().cpu()
    boxes = in_picture(seen, resize, own)
    items: dict[str, list[Json]] = {"box": [
        {"bbox": [left, top, right - left, bottom - top], **score}
        for (left, top, right, bottom), score in zip(boxes.double().tolist(), scores)]}
    if with_masks and "masks" in detected:
        masks = detected["masks"].float().cpu()
        encoded = (pasted(masks, boxes, own) if paste == "own" else
                   pasted_then_resized(masks, seen, resize.padded(own), own))
        items["mask"] = [{"segmentation": mask, **score} for mask, score in zip(encoded, scores)]
    return items
