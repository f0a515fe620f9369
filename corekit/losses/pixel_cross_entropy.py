"""Cross-entropy over the classes of pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.registry import register

IGNORED = 255  # the class of pixels that count nowhere


@register("loss", "pixel_cross_entropy")
class PixelCrossEntropy:
    """Segmentation: -log softmax(logits) at the class of every pixel that has one.

    The mean is over all such pixels of the step; those of class 255 are left out.

    Raises:
        CorekitError: a class beyond those of the model.
    """

    on_cpu = ("segmentation",)  # its range is checked there, without waiting for the GPU

    def __call__(self, logits: Tensor, segmentation: Tensor) -> Tensor:
        """The sum over pixels, [] in at least float32, of [B, K, H, W] and int64 [B, H, W]."""
        classes = logits.shape[1]
        wrong = segmentation[(segmentation >= classes) & (segmentation != IGNORED)
                             | (segmentation < 0)]
        if len(wrong):
            raise CorekitError(f"loss 'pixel_cross_entropy': a pixel's class is {int(wrong[0])}, "
                               f"but the model has {classes} classes: set model.num_classes, or "
                               f"mark pixels that do not count with {IGNORED}")
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(wide, segmentation.to(logits.device, torch.int64),
                               ignore_index=IGNORED, reduction="sum")

    def weights(self, segmentation: Tensor) -> Tensor:
        """The number of pixels that have a class."""
        return (segmentation != IGNORED).sum()
