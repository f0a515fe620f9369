"""Average precision and recall of COCO, by faster-coco-eval or pycocotools."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from corekit.data.outlines import mask_functions

SUMMARY = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100",
           "ar_small", "ar_medium", "ar_large")
Rle = dict[str, Any]  # COCO's: size [height, width] and counts


class Precision(NamedTuple):
    """COCO's figures, fractions of 1; those of which nothing is in the ground truth are left out.

    ``metrics`` are the 12 of COCO's summary. ``by_class`` is the average precision of each class,
    by its id.
    """

    metrics: dict[str, float]
    by_class: dict[int, float]


def average_precision(truth: Mapping[str, Any], results: bytes,
                      kind: Literal["bbox", "segm"]) -> Precision:
    """COCO's figures of results, which are a JSON list as COCO defines it.

    ``truth`` has ``images``, ``annotations`` with ids from 1 on, and ``categories``.
    """
    mask_functions()  # or a sentence
    try:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    except ImportError:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        coco = COCO()
        coco.dataset = dict(truth)
        coco.createIndex()
        detections: list[dict[str, Any]] = json.loads(results)
        if detections:
            of_model = coco.loadRes(detections)
        else:  # which pycocotools refuses
            of_model = COCO()
            of_model.dataset = {**truth, "annotations": []}
            of_model.createIndex()
        evaluation = Evaluation(coco, of_model, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = dict(zip(SUMMARY, np.asarray(evaluation.stats, dtype=float).tolist()))
    return Precision({name: value for name, value in metrics.items() if value >= 0},
                     _by_class(evaluation.eval["precision"], evaluation.params.catIds))


def _by_class(precision: NDArray[np.float64], ids: Sequence[int]) -> dict[int, float]:
    """The mean of precisions [thresholds, recalls, classes, areas, detections] for each class."""
    of_classes = precision[:, :, :, 0, -1]
    return {int(number): float(of_classes[:, :, place].mean()) for place, number in enumerate(ids)
            if (of_classes[:, :, place] > -1).all()}
