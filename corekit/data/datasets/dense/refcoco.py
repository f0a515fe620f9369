"""RefCOCO, RefCOCO+ and RefCOCOg in the JSON files that MDETR's authors made of them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.dense.coco_instances import AnnotatedPictures
from corekit.data.datasets.dense.coco_json import coco_number
from corekit.data.shards.members import RawSample
from corekit.registry import register


@register("dataset", "refcoco")
class RefCoco(AnnotatedPictures):
    """COCO's pictures, each with a phrase for one of its objects (Yu et al., 2016).

    ``finetune_NAME_SPLIT.json`` of MDETR (Kamath et al., 2021) has a picture for each phrase, in
    ``train2014/`` or ``images/train2014/``. A sample has ``image``, ``text``, the phrase, and
    ``boxes``, float32 [1, 4], that of the object in pixels. A phrase whose box is damaged is a bad
    sample.

    Args:
        root: the folder or URL of COCO; ``data.root`` where the recipe gives none. None: no
            samples, as a dry run needs it.
        dataset: whose phrases.
        split: train, val, testA, testB, or test.
        without: annotation files below the root whose pictures are left out, such as those of
            RefCOCO's tests from the phrases of RefCOCO+.

    Attributes:
        image_ids: COCO's number of the picture of each sample.

    Raises:
        CorekitError: the annotations are missing, cut off, or of another form.
    """

    def __init__(self, root: str | None,
                 dataset: Literal["refcoco", "refcoco+", "refcocog"] = "refcoco",
                 split: str = "train", without: Sequence[str] = ()) -> None:
        self.dataset = dataset
        self.texts: list[str] = []
        super().__init__(root, split, f"{dataset}_{split}", False, True, True, without)
        self.fields = ("image", "text", "boxes")

    def annotation_files(self) -> list[str]:
        """The names that the annotation file may have."""
        name = f"finetune_{self.dataset}_{self.split}.json"
        return [f"annotations/{name}", name, f"mdetr_annotations/{name}"]

    def picture_name(self, picture: dict[str, Any]) -> str:
        """The name of a picture's file below one of ``folders``."""
        return str(picture.get("file_name", ""))

    def folders(self) -> list[str]:
        """The folders that pictures may lie in, each with a / at its end."""
        return ["train2014/", "images/train2014/"]

    def key(self, number: int) -> str:
        """The name of the picture and the number of the phrase."""
        return f"{super().key(number)}_{self.phrase_ids[number]}"

    def keep(self, pictures: list[dict[str, Any]], categories: list[dict[str, Any]]) -> None:
        """Keep the phrases."""
        self.texts = [str(picture.get("caption", "")).strip() for picture in pictures]
        self.image_ids = [coco_number(picture) for picture in pictures]
        self.phrase_ids = [int(picture["id"]) for picture in pictures]
        self.class_names = []

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The phrase and the box of its object."""
        boxes = super().annotation(number, sample, raw)["boxes"]
        if len(boxes) != 1 or not self.texts[number]:
            raise BadSampleError("phrase", f"{raw.where}: {raw.key}: its phrase "
                                 f"{self.texts[number]!r} has {len(boxes)} boxes instead of one")
        return {"text": self.texts[number], "boxes": np.asarray(boxes)}
