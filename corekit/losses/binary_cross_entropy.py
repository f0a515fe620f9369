"""Binary cross-entropy of multi-label classification, from the rows that are set and with a head of
any width.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.losses.blockwise import SlopesAtOnce
from corekit.registry import register

NAME = "loss 'binary_cross_entropy'"


@register("loss", "binary_cross_entropy")
class BinaryCrossEntropy:
    """Multi-label classification: every class is a yes or no of its own; a sample's loss is the sum
    over classes.

    sum_k [softplus(x_k) - y_k x_k] for logits x and targets y in {0, 1}, which is what
    ``binary_cross_entropy_with_logits`` sums; its mean over the samples of the step is the loss
    (CatLIP: Mehta et al., 2024, section 3, whose code sums over classes and divides by the batch).
    It starts at about K ln 2. No smoothing, no weights of classes.

    Targets come as the rows that are 1 and are never held dense. Where the model gives a
    ``LinearOutput``, the head is evaluated in blocks of classes and its gradients are made block by
    block, so that the logits are never held either.

    A sample without rows, such as a caption without nouns, has a target of zeros and counts as any
    other: whoever wants it dropped has the data set leave it out.

    Args:
        block: classes that are evaluated at one time.
    """

    def __init__(self, block: int = 2048) -> None:
        if block < 1:
            raise CorekitError(f"{NAME} needs a block of 1 or more, not {block}")
        self.size = block

    def __call__(self, logits: Tensor | LinearOutput, label_rows: Tensor, label_offsets: Tensor,
                 key: Sequence[str] = ()) -> Tensor:
        """The sum over these samples.

        Args:
            logits: [B, K].
            label_rows, label_offsets: whole numbers [sum of n] and [B + 1], as
                ``corekit.data.loading.ragged`` has them.
            key: names of the samples, for messages.

        Returns:
            [] in at least float32.

        Raises:
            CorekitError: a row that is no class, or is there twice in one sample.
        """
        samples = len(logits.hidden) if isinstance(logits, LinearOutput) else len(logits)
        classes = logits.classes if isinstance(logits, LinearOutput) else logits.shape[1]
        size = self.size if isinstance(logits, LinearOutput) else classes
        counts = label_offsets.diff()
        sample = torch.repeat_interleave(torch.arange(samples, device=counts.device), counts,
                                         output_size=len(label_rows))
        pair, _ = (label_rows.long() * samples + sample).sort()  # by class, then by sample
        starts = torch.tensor([*range(0, classes, size), classes], device=pair.device)
        twice = (pair[1:] == pair[:-1]).any()
        # one wait
        *edges, repeats = torch.cat(
            [torch.searchsorted(pair, starts * samples), twice[None].long()]).tolist()
        if repeats or edges[0] != 0 or edges[-1] != len(pair):
            raise CorekitError(_problem(pair.tolist(), samples, classes, key))
        row, sample = pair // samples, pair % samples
        if isinstance(logits, Tensor):
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return F.softplus(wide).sum() - wide[sample, row].sum()
        total: Tensor = _Blockwise.apply(*logits, sample, row, edges, size, torch.is_grad_enabled())
        return total


class _Blockwise(SlopesAtOnce):
    """The sum and its gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, sample: Tensor,
                row: Tensor, edges: Sequence[int], size: int, learning: bool) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        precise, hidden_grad, weight_grad, bias_grad = SlopesAtOnce.start(
            ctx, hidden, weight, bias, learning)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for number, first in enumerate(range(0, len(weight), size)):
                part = slice(first, min(first + size, len(weight)))
                logits = LinearOutput(hidden, weight[part],
                                      None if bias is None else bias[part]).dense().to(wide)
                pairs = slice(edges[number], edges[number + 1])
                here = sample[pairs], row[pairs] - first
                total += F.softplus(logits).sum() - logits[here].sum()
                grad = logits.sigmoid_()
                grad[here] -= 1
                if bias_grad is not None:
                    bias_grad[part] = grad.sum(0)
                grad = grad.to(precise)
                if hidden_grad is not None:
                    hidden_grad += grad @ weight[part].to(precise)
                if weight_grad is not None:
                    weight_grad[part] = grad.T @ hidden.to(precise)
        return total



def _problem(pairs: Sequence[int], samples: int, classes: int, key: Sequence[str]) -> str:
    """What is wrong with the rows."""
    before = None
    for pair in pairs:
        row, sample = pair // samples, pair % samples
        who = f"sample {key[sample] if key else sample}"
        if not 0 <= row < classes:
            return (f"{NAME}: label_rows of {who} hold {row}, but the head has {classes} classes: "
                    f"make the model's num_classes "
                    "the size of the vocabulary that the labels were made with")
        if pair == before:
            return f"{NAME}: label_rows of {who} hold {row} twice; a class is there or not"
        before = pair
    raise AssertionError("there is something wrong")
