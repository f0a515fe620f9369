"""What an evaluation of detection collects on a rank: truth and results of each picture."""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.loading.eval_loader import Chunk
from corekit.data.loading.whole_picture import WholePicture
from corekit.errors import CorekitError
from corekit.evaluation.album import Album
from corekit.evaluation.detection.drawn import draw_annotations, together
from corekit.evaluation.detection.ground_truth import Json, categories, image_id, picture_truth
from corekit.evaluation.detection.objects import Paste, found_objects

LOOKS, LEAST_SCORE = 8, 0.5  # pictures to look at; scores of what is drawn on them


class Collected:
    """Truth and results of the pictures that a rank has seen.

    Args:
        dataset: what the pictures are of.
        resize: how the model saw them.
        paste: at which size masks are pasted.
        with_pictures: whether some are drawn, to look at.
    """

    def __init__(self, dataset: Source, resize: WholePicture, paste: Paste,
                 with_pictures: bool) -> None:
        self.dataset, self.resize, self.paste = dataset, resize, paste
        self.categories = categories(dataset)
        self.ids = [category["id"] for category in self.categories]
        self.album = Album(LOOKS if with_pictures else 0)
        self.truth: dict[int, bytes] = {}  # by the picture's place in the data set
        # compressed: a third of what 500,000 masks take
        self.results: dict[str, dict[int, bytes]] = {"box": {}, "mask": {}}

    def add(self, chunk: Chunk, detections: Sequence[Mapping[str, Tensor]]) -> None:
        """Add the pictures of a chunk with what the model detects in each."""
        fields = [name for name in (*self.dataset.fields, "size", "key") if name != "image"]
        for place, position in enumerate(chunk["position"]):
            sample = {name: chunk[name][place] for name in fields}
            number = image_id(sample, position)
            self.truth[position] = picture_truth(sample, number, self.ids)
            of_picture = self._results(sample, number, detections[place])
            if not self.album.is_full:
                self._show(chunk["image"][place], sample, self.truth[position], of_picture)
            for kind, items in of_picture.items():
                lines = b",\n".join(json.dumps(item).encode() for item in items)
                self.results[kind][position] = zlib.compress(lines, 1) if lines else b""

    def _results(self, sample: Mapping[str, Any], number: int,
                 detected: Mapping[str, Tensor]) -> dict[str, list[Json]]:
        """COCO's results of one picture: of boxes, and of masks where there are any."""
        labels: list[int] = detected["labels"].tolist()
        wrong = [label for label in labels if not 0 <= label < len(self.ids)]
        if wrong:
            raise CorekitError(f"evaluator 'detection': the model finds class {wrong[0]}, but "
                               f"'{dataset_info(self.dataset).name}' has {len(self.ids)} classes")
        named = [{"image_id": number, "category_id": self.ids[label]} for label in labels]
        items = found_objects(detected, self.resize, sample["size"], self.paste,
                              "masks" in self.dataset.fields)
        return {kind: [{**name, **each} for name, each in zip(named, of_kind)]
                for kind, of_kind in items.items()}

    def _show(self, image: Tensor, sample: Mapping[str, Any], truth: bytes,
              results: Mapping[str, Sequence[Json]]) -> None:
        """Truth and prediction on the picture, in its own pixels."""
        _, objects = json.loads(truth)
        best = [each for each in together(results) if each["score"] >= LEAST_SCORE]
        picture = self.resize.own_picture(image, sample["size"])
        self.album.add(sample["key"], *(draw_annotations(picture, items, self.categories)
                                        for items in (objects, best)))
