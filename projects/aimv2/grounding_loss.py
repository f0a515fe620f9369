"""The losses of MM-Grounding-DINO, by transformers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from corekit.registry import register

from .grounding_text import is_word

PARTS = {"ce": "class", "bbox": "box", "giou": "giou"}  # transformers' names and ours
LOSSES = tuple(f"loss_{stage}{part}" for stage in ("", "proposal_") for part in PARTS.values())


@register("loss", "mm_grounding_dino")
class GroundingLoss:
    """Classes, boxes and overlaps of every layer of the decoder and of the proposals.

    The weights are those of MMDetection; transformers has 2 for classes. The losses are divided by
    the number of boxes of a micro-batch, so the loss of a step is the mean over its micro-batches.

    Args:
        class_weight: of the focal loss over the words of the phrase.
        box_weight: of the L1 distance, in sides of the picture.
        giou_weight: of 1 - GIoU.
    """

    weights = 1

    def __init__(self, class_weight: float = 1.0, box_weight: float = 5.0,
                 giou_weight: float = 2.0) -> None:
        self.class_weight, self.box_weight, self.giou_weight = class_weight, box_weight, giou_weight

    def __call__(self, loss_class: Tensor, loss_box: Tensor, loss_giou: Tensor,
                 loss_proposal_class: Tensor, loss_proposal_box: Tensor,
                 loss_proposal_giou: Tensor) -> dict[str, Tensor]:
        return {"class": self.class_weight * loss_class, "box": self.box_weight * loss_box,
                "giou": self.giou_weight * loss_giou,
                "proposal_class": self.class_weight * loss_proposal_class,
                "proposal_box": self.box_weight * loss_proposal_box,
                "proposal_giou": self.giou_weight * loss_proposal_giou}


def losses(detector: Any, ids: Tensor, logits: Tensor, boxes: Tensor, outputs: Any,
           targets: Sequence[Tensor]) -> dict[str, Tensor]:
    """``LOSSES``, each [], without weights: sums over the decoder's layers, and of the proposals.

    Two things differ from what transformers' detector does with its own loss. There the words of
    the second picture count for all after it, so every picture gets the words of all here, and its
    own number as class. And the proposals' boxes have no gradient there, nor their scores one
    through the encoder; as in MMDetection, they have here.

    Args:
        detector: transformers' ``MMGroundingDinoForObjectDetection``.
        ids: the prompts, [B, L].
        logits, boxes: of the decoder's layers, [layers, B, N, T] and [layers, B, N, 4].
        outputs: of the detector's model.
        targets: [n, 4] of each picture, center, width and height in sides of the picture.
    """
    length = logits.shape[-1]
    words = torch.nn.functional.pad(is_word(ids).long(), (0, length - ids.shape[1]))
    has_text = torch.nn.functional.pad(ids != 0, (0, length - ids.shape[1]))
    labels = [{"class_labels": torch.full((len(each),), number, device=ids.device), "boxes": each}
              for number, each in enumerate(targets)]
    best = outputs.enc_outputs_class.max(-1)[0].topk(logits.shape[2], 1)[1][..., None]
    proposal_logits = outputs.enc_outputs_class.gather(1, best.expand(-1, -1, length))
    proposals = outputs.enc_outputs_coord_logits.gather(1, best.expand(-1, -1, 4)).sigmoid()
    _, parts, _ = detector.loss_function(
        logits[-1].float(), labels, ids.device, boxes[-1].float(), detector.config,
        (words,) * len(ids), has_text[:, None].expand(logits.shape[1:]), logits.float(),
        boxes.float(), proposal_logits.float(), proposals.float())
    result = {name: logits.new_zeros((), dtype=torch.float32) for name in LOSSES}
    for name, value in parts.items():
        kind = name.split("_")[1]
        if kind in PARTS:
            stage = "proposal_" if name.endswith("_enc") else ""
            result[f"loss_{stage}{PARTS[kind]}"] += value
    return result
