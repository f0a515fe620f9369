"""Detection: COCO's average precision and recall of a model's boxes and masks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.image_grid import Picture
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.outlines import mask_functions
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.album import Album
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.detection.drawn import draw_annotations, together
from corekit.evaluation.detection.ground_truth import (
    Json,
    categories,
    coco_content,
    image_id,
    picture_truth,
)
from corekit.evaluation.detection.objects import found_objects
from corekit.evaluation.features import check_batch_size, check_field
from corekit.evaluation.gathering import gathered
from corekit.evaluation.metrics.coco import SUMMARY, Precision, average_precision
from corekit.evaluation.whole_pictures import model_method, whole_pictures
from corekit.registry import register

NOTHING = Precision({}, {})
LOOKS, LEAST_SCORE = 8, 0.5  # pictures to look at; scores of what is drawn on them
KINDS: dict[str, Literal["bbox", "segm"]] = {"box": "bbox", "mask": "segm"}


@register("evaluator", "detection")
class Detection:
    """COCO's 12 figures of boxes, ``box_ap`` and so on, and of masks where model and data have any.

    The ground truth are the data set's annotations, in pixels of the picture's own size. A figure
    of which the ground truth has nothing, such as large objects, is left out.

    Args:
        dataset: with the fields ``boxes`` and ``box_labels``, perhaps ``masks`` and ``iscrowd``.
        preprocess: gives the interpolation, and the size where ``size`` is not set.
        size: pixels of a side of what the model sees.
        keep_aspect: the longest side gets ``size`` pixels, and the square is padded. False: the
            picture is squeezed into the square, as CoreNet does.
        longest: the shortest side gets ``size`` instead, and the longest at most so many pixels.
        paste: masks get the picture's ``own`` size, or, as CoreNet's, that of what the model
            ``seen`` first.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the data set lacks a field, or no package is there that computes the figures.
    """

    def __init__(self, dataset: Source, preprocess: Preprocess, size: int | None = None,
                 keep_aspect: bool = True, longest: int | None = None,
                 paste: Literal["own", "seen"] = "own", batch_size: int = 8) -> None:
        mask_functions()
        check_batch_size("detection", batch_size)
        for field in ("boxes", "box_labels"):
            check_field("detection", "dataset", dataset, field)
        self.dataset, self.paste, self.batch_size = dataset, paste, batch_size
        self.resize = WholePicture(size or preprocess.size, preprocess.interpolation, keep_aspect,
                                   longest)
        self.categories = categories(dataset)
        self.ids = [category["id"] for category in self.categories]

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every picture counts once, whatever the number of ranks."""
        detect = model_method(eval_model, "detection", "detect")
        truth: dict[int, bytes] = {}
        results: dict[str, dict[int, bytes]] = {kind: {} for kind in KINDS}
        album = Album(LOOKS if eval_model.rank == 0 else 0)
        counts = torch.zeros(3, dtype=torch.int64, device=eval_model.device)
        for chunk, images in whole_pictures(eval_model, self.dataset, self.batch_size, self.resize):
            with eval_model.autocast():
                detections: Any = detect(images)
            counts[:2] += torch.tensor([len(chunk["position"]), chunk["left_out"]],
                                       device=counts.device)
            for place, position in enumerate(chunk["position"]):
                sample = {name: chunk[name][place] for name in (*self.dataset.fields, "size", "key")
                          if name != "image"}
                number = image_id(sample, position)
                truth[position] = picture_truth(sample, number, self.ids)
                of_picture = self._results(sample, number, detections[place])
                counts[2] += "mask" in of_picture
                if not album.is_full:
                    self._show(album, chunk["image"][place], sample, truth[position], of_picture)
                for kind, items in of_picture.items():
                    results[kind][position] = b",\n".join(json.dumps(item).encode()
                                                          for item in items)
        samples, left_out, with_masks = eval_model.sum(counts).tolist()
        if not with_masks:
            del results["mask"]
        return self._result(eval_model, truth, results, (samples, left_out), album.pictures())

    def _results(self, sample: Mapping[str, Any], number: int,
                 detected: Mapping[str, Tensor]) -> dict[str, list[Json]]:
        """COCO's results of one picture: of boxes, and of masks where there are any."""
        labels: list[int] = detected["labels"].tolist()
        wrong = [label for label in labels if not 0 <= label < len(self.ids)]
        if wrong:
            raise CorekitError(f"evaluator 'detection': the model finds class {wrong[0]}, but "
                               f"'{dataset_info(self.dataset).name}' has {len(self.ids)} classes")
        named = [{"image_id": number, "category_id": self.ids[label]} for label in labels]
        with_masks = "masks" in self.dataset.fields
        items = found_objects(detected, self.resize, sample["size"], self.paste, with_masks)
        return {kind: [{**name, **each} for name, each in zip(named, of_kind)]
                for kind, of_kind in items.items()}

    def _show(self, album: Album, image: Tensor, sample: Mapping[str, Any], truth: bytes,
              results: Mapping[str, Sequence[Json]]) -> None:
        """Truth and prediction on the picture, in its own pixels."""
        _, objects = json.loads(truth)
        best = [each for each in together(results) if each["score"] >= LEAST_SCORE]
        picture = self.resize.own_picture(image, sample["size"])
        album.add(sample["key"], *(draw_annotations(picture, items, self.categories)
                                   for items in (objects, best)))

    def _result(self, eval_model: EvalModel, truth: Mapping[int, bytes],
                results: Mapping[str, Mapping[int, bytes]], counts: Sequence[int],
                pictures: dict[str, Picture]) -> Result:
        """The figures, which the first rank computes, on every rank."""
        samples, left_out = counts
        total = int(self.dataset.shard_sizes.sum())
        content = coco_content(gathered(eval_model, total, truth), self.categories)
        metrics: dict[str, float] = {}
        by_class: dict[str, dict[str, float]] = {}
        files = {"ground_truth.json": json.dumps(content).encode()}
        for kind, items in results.items():
            text = b"[" + b",\n".join(filter(None, gathered(eval_model, total, items))) + b"]"
            precision = NOTHING
            if eval_model.rank == 0:
                files[f"{kind}_results.json"] = text
                precision = average_precision(content, text, KINDS[kind])
            metrics |= {f"{kind}_{name}": value for name, value
                        in on_every_rank(eval_model, precision.metrics, SUMMARY).items()}
            for each in self.categories:
                if each["id"] in precision.by_class:
                    of_class = by_class.setdefault(each["name"], {})
                    of_class[f"{kind}_ap"] = precision.by_class[each["id"]]
        return Result.on(self.dataset, samples, metrics, pictures, left_out, files,
                         by_class=by_class)


def on_every_rank(eval_model: EvalModel, figures: Mapping[str, float],
                  names: Sequence[str]) -> dict[str, float]:
    """The first rank's figures, of these names, of which some may be missing."""
    if eval_model.world == 1:
        return dict(figures)
    values = torch.tensor([figures.get(name, -1.0) for name in names], dtype=torch.float64)
    share = values if eval_model.rank == 0 else torch.zeros_like(values)
    summed = eval_model.sum(share.to(eval_model.device)).tolist()
    return {name: value for name, value in zip(names, summed) if value >= 0}
