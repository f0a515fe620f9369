"""COCO's layout: pictures in a folder, and what is in them in one JSON file."""

import hashlib
from collections import defaultdict

import numpy as np

from corekit.data.datasets.base import Sample
from corekit.data.datasets.dense.coco_json import parse_file
from corekit.data.datasets.dense.pictures import Pictures
from corekit.data.shards.members import RawSample
from corekit.errors import CorekitError
from corekit.registry import register


@register("dataset", "coco_labels")
class CocoLabels(Pictures):
    """COCO's pictures with the categories of their objects, for multi-label classification.

    ``annotations/instances_SPLIT.json`` says what is in the pictures under ``SPLIT/`` or
    ``images/SPLIT/`` (Lin et al., 2014). A sample has ``image`` and ``label_rows``, int32 [n],
    ascending: the places of its categories among all, in the order of their numbers. A picture
    without objects has none.

    Args:
        root: the folder or URL of COCO; ``data.root`` where the recipe gives none. None: no
            samples, as a dry run needs it.
        split: such as train2017 or val2017.

    Raises:
        CorekitError: the annotations are missing, or not COCO's.
    """

    def __init__(self, root: str | None, split: str = "train2017") -> None:
        super().__init__(root, ("image", "label_rows"), f"coco_{split}")
        self.split = split
        self.rows: list[list[int]] = []
        if root is not None:
            self._read_annotations(f"annotations/instances_{split}.json")

    def _read_annotations(self, name: str) -> None:
        content = self.storage.read_if_there(name)
        where = self.storage.where(name)
        if content is None:
            raise CorekitError(f"{where} does not exist: data.root is a folder with COCO's "
                               f"annotations/ and {self.split}/")
        parsed = parse_file(content, where)
        try:
            categories = sorted((int(item["id"]), str(item["name"]))
                                for item in parsed["categories"])
            row = {number: index for index, (number, _) in enumerate(categories)}
            rows: dict[int, set[int]] = defaultdict(set)
            for item in parsed["annotations"]:
                rows[item["image_id"]].add(row[item["category_id"]])
            names = [str(item["file_name"]) for item in parsed["images"]]
            self.rows = [sorted(rows[item["id"]]) for item in parsed["images"]]
        except (ValueError, KeyError, TypeError) as error:
            raise CorekitError(f"{where} is not as COCO's: {type(error).__name__}: {error}"
                               ) from None
        self.class_names = [category for _, category in categories]
        self.num_classes = len(categories)
        folder = self.folder_of(names, [f"{self.split}/", f"images/{self.split}/"])
        self.number([{"image": folder + name} for name in names],
                    hashlib.sha256(content).hexdigest())

    def annotation(self, number: int, sample: Sample, raw: RawSample) -> Sample:
        """The rows of a picture."""
        return {"label_rows": np.array(self.rows[number], dtype=np.int32)}
