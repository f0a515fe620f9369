"""Cross-entropy of single-label classification."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput, dense
from corekit.registry import register


@register("loss", "cross_entropy")
class CrossEntropy:
    """Classification: -log softmax(logits) at the label, or at a mixture of it and all classes alike.

    Args:
        label_smoothing: epsilon of Szegedy et al. (2016, section 7): the target is 1 - epsilon at the label, and
            epsilon / K more at every class.

    Raises:
        CorekitError: a smoothing outside [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise CorekitError(f"loss 'cross_entropy' needs label_smoothing of 0 or more and below 1, not {label_smoothing}")
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor | LinearOutput, label: Tensor) -> Tensor:
        """The sum over these samples.

        Args:
            logits: [B, K]; they are held whole.
            label: int64 [B].

        Returns:
            [] in at least float32.

        Raises:
            CorekitError: a label that is no class.
        """
        scores = dense(logits)
        classes = scores.shape[1]
        wrong = label[(label < 0) | (label >= classes)]
        if len(wrong):
            raise CorekitError(f"loss 'cross_entropy': a label is {int(wrong[0])}, but the model has {classes} classes: set "
                               "model.num_classes")
        return F.cross_entropy(scores.to(torch.promote_types(scores.dtype, torch.float32)), label, reduction="sum",
                               label_smoothing=self.label_smoothing)
