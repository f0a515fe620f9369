"""COCO's layout: pictures in a folder, and what is in them in one JSON file."""

import hashlib
import json
from collections import defaultdict

import numpy as np

from corekit.data.datasets.base import Sample
from corekit.data.fields import find_fields
from corekit.data.shards.members import RawSample, decode_sample
from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.files import leaves_folder
from corekit.registry import register

SHARD = 1000  # samples; files have no shards, this is what the order of a run permutes


@register("dataset", "coco_labels")
class CocoLabels:
    """COCO's pictures with the categories of their objects, for multi-label classification.

    ``annotations/instances_SPLIT.json`` says what is in the pictures under ``SPLIT/`` (Lin et al.,
    2014). A sample has ``image`` and ``label_rows``, int32 [n], ascending: the places of its
    categories among all, in the order of their numbers. A picture without objects has none.

    Args:
        root: the folder or URL of COCO; ``data.root`` where the recipe gives none. None: no
            samples, as a dry run needs it.
        split: such as train2017 or val2017.

    Raises:
        CorekitError: the annotations are missing, or not COCO's.
    """

    def __init__(self, root: str | None, split: str = "train2017") -> None:
        self.fields = ("image", "label_rows")
        self.decoders = find_fields(["image"])
        self.class_names: list[str] = []
        self.fingerprint, self.split, self.name = "", split, f"coco_{split}"
        self._pictures: list[tuple[str, list[int]]] = []
        if root is not None:
            self.storage = Storage(root)
            self._read_annotations(f"annotations/instances_{split}.json")
        count = len(self._pictures)
        self.shard_sizes = np.array([min(SHARD, count - first) for first in range(0, count, SHARD)],
                                    dtype=np.int64)

    def _read_annotations(self, name: str) -> None:
        content = self.storage.read_if_there(name)
        if content is None:
            raise CorekitError(f"{self.storage.where(name)} does not exist: data.root is a folder "
                               f"with COCO's annotations/ and {self.split}/")
        try:
            parsed = json.loads(content)
            categories = sorted((int(item["id"]), str(item["name"]))
                                for item in parsed["categories"])
            row = {number: index for index, (number, _) in enumerate(categories)}
            rows: dict[int, set[int]] = defaultdict(set)
            for item in parsed["annotations"]:
                rows[item["image_id"]].add(row[item["category_id"]])
            self._pictures = [(str(item["file_name"]), sorted(rows[item["id"]]))
                              for item in parsed["images"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorekitError(f"{self.storage.where(name)} is not as COCO's: "
                               f"{type(error).__name__}: {error}") from None
        if not self._pictures:
            raise CorekitError(f"{self.storage.where(name)} has no pictures")
        self.class_names = [category for _, category in categories]
        self.num_classes = len(categories)
        self.fingerprint = hashlib.sha256(content).hexdigest()

    def read(self, shard: int, first: int, count: int) -> list[tuple[RawSample, list[int]]]:
        """(the file of a picture, its rows) of neighbouring samples."""
        begin = shard * SHARD + first
        return [(self._read_picture(f"{self.split}/{name}"), rows)
                for name, rows in self._pictures[begin:begin + count]]

    def _read_picture(self, name: str) -> RawSample:
        if leaves_folder(name):
            return RawSample(self.storage.root, name, {}, ("path", "its name leaves the folder"))
        content = self.storage.read_if_there(name)
        return RawSample(self.storage.root, name, {} if content is None else {"jpg": content})

    def decode(self, handle: tuple[RawSample, list[int]]) -> Sample:
        """One picture with its rows."""
        raw, rows = handle
        sample = decode_sample(raw, {"image": ["jpg"]}, self.decoders)
        sample["label_rows"] = np.array(rows, dtype=np.int32)
        return sample
