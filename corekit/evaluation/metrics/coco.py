"""Average precision and recall of COCO, by faster-coco-eval or pycocotools."""

import contextlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corekit.data.outlines import mask_functions

SUMMARY = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100",
           "ar_small", "ar_medium", "ar_large")
AT_A_TIME = 10_000  # results that are held as objects
CATEGORY = re.compile(rb'"category_id": (\d+)')
Rle = dict[str, Any]  # COCO's: size [height, width] and counts


class Precision(NamedTuple):
    """COCO's figures, fractions of 1; those of which nothing is in the ground truth are left out.

    ``metrics`` are the 12 of COCO's summary. ``by_class`` is the average precision of each class,
    by its id.
    """

    metrics: dict[str, float]
    by_class: dict[int, float]


def average_precision(truth: Mapping[str, Any], results: bytes | bytearray,
                      kind: Literal["bbox", "segm"]) -> Precision:
    """COCO's figures of results.

    Classes do not depend on each other, and some are computed at a time, so that few results are
    held as objects.

    Args:
        truth: ``images``, ``annotations`` with ids from 1 on, and ``categories``.
        results: a JSON list as COCO defines it, with an item in each line.
        kind: boxes, or masks.
    """
    mask_functions()  # or a sentence
    try:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation

    lines = _Lines(results)
    coco, parts = COCO(), []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco.dataset = dict(truth)
        coco.createIndex()
        for ids in lines.groups(sorted(each["id"] for each in truth["categories"])):
            detections = lines.of_categories(ids)
            if detections:
                of_model = coco.loadRes(detections)
            else:  # which pycocotools refuses
                of_model = COCO()
                of_model.dataset = {**truth, "annotations": []}
                of_model.createIndex()
            evaluation = Evaluation(coco, of_model, kind)
            evaluation.params.catIds = ids
            evaluation.evaluate()
            evaluation.accumulate()
            parts.append({name: evaluation.eval[name] for name in ("precision", "recall")})
        evaluation.params.catIds = sorted(coco.cats)
        evaluation.eval = {**evaluation.eval, **{
            name: np.concatenate([part[name] for part in parts], axis)
            for name, axis in (("precision", 2), ("recall", 1))}}
        evaluation.summarize()
    metrics = dict(zip(SUMMARY, np.asarray(evaluation.stats, dtype=float).tolist()))
    return Precision({name: value for name, value in metrics.items() if value >= 0},
                     _by_class(evaluation.eval["precision"], evaluation.params.catIds))


class _Lines:
    """The items of a JSON list with an item in each line, parsed when they are asked for."""

    def __init__(self, results: bytes | bytearray) -> None:
        ends = np.flatnonzero(np.frombuffer(results, dtype=np.uint8) == ord("\n"))
        self.results = results
        self.starts = np.concatenate([[1], ends + 1])
        self.ends = np.concatenate([ends - 1, [len(results) - 1]])  # before a comma or the end
        found = [int(each) for each in CATEGORY.findall(results)]
        self.categories = np.array(found, dtype=np.int64)

    def groups(self, ids: Sequence[int]) -> Iterator[list[int]]:
        """Neighbouring categories, together with at most ``AT_A_TIME`` items, or one category."""
        group: list[int] = []
        size = 0
        for number in ids:
            count = int((self.categories == number).sum())
            if group and size + count > AT_A_TIME:
                yield group
                group, size = [], 0
            group.append(number)
            size += count
        yield group

    def of_categories(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The items of some categories, in their order."""
        chosen = np.flatnonzero(np.isin(self.categories, ids))
        return [json.loads(self.results[self.starts[place]:self.ends[place]]) for place in chosen]


def _by_class(precision: NDArray[np.float64], ids: Sequence[int]) -> dict[int, float]:
    """The mean of precisions [thresholds, recalls, classes, areas, detections] for each class."""
    of_classes = precision[:, :, :, 0, -1]
    return {int(number): float(of_classes[:, :, place].mean()) for place, number in enumerate(ids)
            if (of_classes[:, :, place] > -1).all()}
