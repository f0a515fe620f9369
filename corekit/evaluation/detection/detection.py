"""Detection: COCO's average precision and recall of a model's boxes and masks."""

import json
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import torch

from corekit.data.datasets.base import Source
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.outlines import mask_functions
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.detection.collected import Collected
from corekit.evaluation.detection.ground_truth import coco_content
from corekit.evaluation.features import check_batch_size, check_field
from corekit.evaluation.gathering import gathered
from corekit.evaluation.metrics.coco import SUMMARY, Precision, average_precision
from corekit.evaluation.whole_pictures import model_method, whole_pictures
from corekit.registry import register

NOTHING = Precision({}, {})
AHEAD = 2  # chunks whose masks are not pasted yet
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
        self.dataset, self.batch_size = dataset, batch_size
        self.resize = WholePicture(size or preprocess.size, preprocess.interpolation, keep_aspect,
                                   longest)
        self.paste: Literal["own", "seen"] = paste

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every picture counts once, whatever the number of ranks."""
        detect = model_method(eval_model, "detection", "detect")
        collected = Collected(self.dataset, self.resize, self.paste, eval_model.rank == 0)
        counts = torch.zeros(3, dtype=torch.int64, device=eval_model.device)
        # masks are pasted in a thread while the model runs on the next pictures
        with ThreadPoolExecutor(1) as thread:
            pending: deque[Future[None]] = deque()
            for chunk, images in whole_pictures(eval_model, self.dataset, self.batch_size,
                                                self.resize):
                with eval_model.autocast():
                    detections: Any = detect(images)
                counts[:2] += torch.tensor([len(chunk["position"]), chunk["left_out"]],
                                           device=counts.device)
                on_cpu = [{name: value.cpu() for name, value in each.items()}
                          for each in detections]
                pending.append(thread.submit(collected.add, chunk, on_cpu))
                if len(pending) > AHEAD:
                    pending.popleft().result()
            for each in pending:
                each.result()
        counts[2] = len(collected.results["mask"])
        samples, left_out, with_masks = eval_model.sum(counts).tolist()
        if not with_masks:
            del collected.results["mask"]
        return self._result(eval_model, collected, samples, left_out)

    def _result(self, eval_model: EvalModel, collected: Collected, samples: int,
                left_out: int) -> Result:
        """The figures, which the first rank computes, on every rank."""
        total = int(self.dataset.shard_sizes.sum())
        content = coco_content(gathered(eval_model, total, collected.truth),
                               collected.categories)
        metrics: dict[str, float] = {}
        by_class: dict[str, dict[str, float]] = {}
        files: dict[str, bytes | bytearray] = {"ground_truth.json": json.dumps(content).encode()}
        for kind, items in collected.results.items():
            text = bytearray(b"[")
            for piece in filter(None, gathered(eval_model, total, items)):
                text += b",\n" * (len(text) > 1) + zlib.decompress(piece)
            text += b"]"
            precision = NOTHING
            if eval_model.rank == 0:
                files[f"{kind}_results.json"] = text
                precision = average_precision(content, text, KINDS[kind])
            metrics |= {f"{kind}_{name}": value for name, value
                        in on_every_rank(eval_model, precision.metrics, SUMMARY).items()}
            for each in collected.categories:
                if each["id"] in precision.by_class:
                    of_class = by_class.setdefault(each["name"], {})
                    of_class[f"{kind}_ap"] = precision.by_class[each["id"]]
        return Result.on(self.dataset, samples, metrics, collected.album.pictures(), left_out,
                         files, by_class=by_class)


def on_every_rank(eval_model: EvalModel, figures: Mapping[str, float],
                  names: Sequence[str]) -> dict[str, float]:
    """The first rank's figures, of these names, of which some may be missing."""
    if eval_model.world == 1:
        return dict(figures)
    values = torch.tensor([figures.get(name, -1.0) for name in names], dtype=torch.float64)
    share = values if eval_model.rank == 0 else torch.zeros_like(values)
    summed = eval_model.sum(share.to(eval_model.device)).tolist()
    return {name: value for name, value in zip(names, summed) if value >= 0}
