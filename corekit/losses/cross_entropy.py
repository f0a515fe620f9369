"""Cross-entropy over classes, with a head of any width."""

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput, num_classes
from corekit.losses.blockwise import Context, GradInForward, check_block
from corekit.losses.guess import Guess, of_classes
from corekit.registry import register


@register("loss", "cross_entropy")
class CrossEntropy:
    """Classification: -log softmax(logits) at the label, with or without label smoothing.

    Args:
        label_smoothing: epsilon of Szegedy et al. (2016, section 7): the target is 1 - epsilon at
            the label, and epsilon / K more at every class.
        block: samples whose logits are held at one time where the model gives a ``LinearOutput``.

    Raises:
        CorekitError: a smoothing outside [0, 1), or a block below 1.
    """

    on_cpu = ("label",)  # its range is checked there, without waiting for the GPU

    def __init__(self, label_smoothing: float = 0.0, block: int = 1024) -> None:
        if not 0 <= label_smoothing < 1:
            raise CorekitError("loss 'cross_entropy' needs label_smoothing of 0 or more and below "
                               f"1, not {label_smoothing}")
        check_block("cross_entropy", block)
        self.label_smoothing, self.block = label_smoothing, block

    def __call__(self, logits: Tensor | LinearOutput, label: Tensor) -> Tensor:
        """The sum over samples, [] in at least float32, of logits [B, K] and labels int64 [B]."""
        classes = num_classes(logits)
        wrong = label[(label < 0) | (label >= classes)]
        if len(wrong):
            raise CorekitError(f"loss 'cross_entropy': a label is {int(wrong[0])}, but the model "
                               f"has {classes} classes: set model.num_classes, or write the "
                               f"labels anew where they do not count from 0 to {classes - 1}")
        return summed_cross_entropy(logits, label, self.label_smoothing, self.block)

    def guessing(self, logits: Tensor | LinearOutput, label: Tensor) -> Guess:
        """Classes are as likely as they are frequent."""
        return of_classes(label, num_classes(logits), self.label_smoothing)


def summed_cross_entropy(logits: Tensor | LinearOutput, label: Tensor, smoothing: float,
                         block: int) -> Tensor:
    """The sum of the cross-entropies of all rows of logits [N, K], [] in at least float32.

    Of a ``LinearOutput``, ``block`` rows exist at a time, and so do their gradients. Labels int64
    [N] are classes, on any device.
    """
    if isinstance(logits, LinearOutput):
        label = label.to(logits.hidden.device, non_blocking=True)
        total: Tensor = _Blockwise.apply(*logits, label, smoothing, block, torch.is_grad_enabled())
        return total
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    label = label.to(logits.device, non_blocking=True)
    return F.cross_entropy(wide, label, reduction="sum", label_smoothing=smoothing)


class _Blockwise(GradInForward):
    """The sum and its gradients."""

    @staticmethod
    def forward(ctx: Context, hidden: Tensor, weight: Tensor, bias: Tensor | None, label: Tensor,
                smoothing: float, size: int, learning: bool) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        precise, hidden_grad, weight_grad, bias_grad = GradInForward.start(
            ctx, hidden, weight, bias, learning)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            # converted once, not in each block
            weight_for_logits, weight_for_grads = weight.to(hidden.dtype), weight.to(precise)
            for first in range(0, len(hidden), size):
                rows, targets = hidden[first:first + size], label[first:first + size, None]
                logits = LinearOutput(rows, weight_for_logits, bias).dense().to(wide)
                logits -= logits.amax(1, keepdim=True)
                total -= (1 - smoothing) * logits.gather(1, targets).sum()
                if smoothing:
                    total -= smoothing * logits.mean(1).sum()
                grad = logits.exp_()
                normaliser = grad.sum(1, keepdim=True)
                total += normaliser.log().sum()
                grad /= normaliser
                minus_one = grad.new_full((1, 1), smoothing - 1).expand(len(targets), 1)
                grad.scatter_add_(1, targets, minus_one)
                grad -= smoothing / len(weight)
                if bias_grad is not None:
                    bias_grad += grad.sum(0)
                grad = grad.to(precise)
                if hidden_grad is not None:
                    hidden_grad[first:first + size] = grad @ weight_for_grads
                if weight_grad is not None and weight_grad.dtype == precise:
                    # without a product as large as the weight beside it
                    weight_grad.addmm_(grad.T, rows.to(precise))
                elif weight_grad is not None:
                    weight_grad += grad.T @ rows.to(precise)
        return total
