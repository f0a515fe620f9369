"""Referring expressions: is the box that a model finds for a phrase the right one."""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from corekit.data.datasets.base import Source
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.detection.paste import in_picture
from corekit.evaluation.features import check_batch_size, check_field
from corekit.evaluation.whole_pictures import model_method, whole_pictures
from corekit.registry import register

AT = (1, 5, 10)  # boxes that count, best first
RIGHT = 0.5  # IoU from which a box is right


@register("evaluator", "referring")
class ReferringExpressions:
    """``precision_at_1``, 5 and 10: a right box is among the best k for so many phrases.

    A box is right from an IoU of 0.5 with the first box of its sample (Yu et al., 2016).

    Args:
        dataset: with the fields ``text`` and ``boxes``.
        preprocess: gives the interpolation, and the size where ``size`` is not set.
        size: pixels of a side of what the model sees.
        keep_aspect: the longest side gets ``size`` pixels, and the square is padded. False: the
            picture is squeezed into the square.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the data set lacks a field.
    """

    def __init__(self, dataset: Source, preprocess: Preprocess, size: int | None = None,
                 keep_aspect: bool = True, batch_size: int = 64) -> None:
        check_batch_size("referring", batch_size)
        for field in ("text", "boxes"):
            check_field("referring", "dataset", dataset, field)
        self.dataset, self.batch_size = dataset, batch_size
        self.resize = WholePicture(size or preprocess.size, preprocess.interpolation, keep_aspect)

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every phrase counts once, whatever the number of ranks."""
        refer: Any = model_method(eval_model, "referring", "refer")
        if eval_model.tokenize is None:
            raise CorekitError("evaluator 'referring' needs a tokenizer: set data.tokenizer")
        # right at each of AT, samples, left out
        counts = torch.zeros(len(AT) + 2, dtype=torch.int64, device=eval_model.device)
        for chunk, images in whole_pictures(eval_model, self.dataset, self.batch_size, self.resize):
            text = eval_model.tokenize(chunk["text"] or [""]).to(eval_model.device)
            with eval_model.autocast():
                answers = refer(images, text)["boxes"].float().cpu()
            right = [self._hits(boxes, true, size) for boxes, true, size
                     in zip(answers, chunk["boxes"], chunk["size"])]
            counts += torch.tensor([*(sum(hits) for hits in zip(*right or [[False] * len(AT)])),
                                    len(chunk["key"]), chunk["left_out"]], device=counts.device)
        *hits, samples, left_out = eval_model.sum(counts).tolist()
        metrics = {f"precision_at_{k}": count / max(1, samples) for k, count in zip(AT, hits)}
        return Result.on(self.dataset, samples, metrics, left_out=left_out)

    def _hits(self, found: Tensor, true: object, own: tuple[int, int]) -> list[bool]:
        """Whether a right box is among the first k, for each of ``AT``."""
        boxes = in_picture(found[:max(AT)], self.resize, own)
        target = torch.as_tensor(true, dtype=torch.float32).reshape(-1, 4)[:1]
        is_right = (box_iou(boxes, target) >= RIGHT).any(1)
        return [bool(is_right[:k].any()) for k in AT]
