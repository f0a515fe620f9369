"""Binary cross-entropy of multi-label classification, with a head of any width."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput, num_classes
from corekit.losses.blockwise import Context, GradInForward, check_block
from corekit.losses.guess import Guess, of_many_labels
from corekit.registry import register

NAME = "loss 'binary_cross_entropy'"


@register("loss", "binary_cross_entropy")
class BinaryCrossEntropy:
    """Multi-label classification: a sample's loss is the sum over classes, each a yes or no.

    sum_k [softplus(x_k) - y_k x_k] for logits x and targets y in {0, 1}, which is what
    ``binary_cross_entropy_with_logits`` sums; its mean over the samples of the step is the loss
    (CatLIP: Mehta et al., 2024, section 3, whose code sums over classes and divides by the batch).
    It starts at about K ln 2. No smoothing, no weights of classes.

    Targets come as the rows that are 1 and are never held dense. Where the model gives a
    ``LinearOutput``, the head is evaluated in blocks of classes and its gradients are computed
    block by block, so that the logits are never held either.

    A sample without rows, such as a caption without nouns, has a target of zeros and counts as any
    other. Who wants it dropped lets the data set leave it out.

    Args:
        block: classes that are evaluated at one time.
    """

    on_cpu = ("label_rows", "label_offsets")  # checked and sorted there, without waiting for a GPU

    def __init__(self, block: int = 2048) -> None:
        check_block("binary_cross_entropy", block)
        self.block = block

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
        hidden = logits.hidden if isinstance(logits, LinearOutput) else logits
        samples, classes = len(hidden), num_classes(logits)
        counts = label_offsets.diff()
        numbers = torch.arange(samples, device=counts.device)
        sample = torch.repeat_interleave(numbers, counts, output_size=len(label_rows))
        pair, _ = (label_rows.long() * samples + sample).sort()  # by class, then by sample
        size = self.block if isinstance(logits, LinearOutput) else classes
        starts = torch.tensor([*range(0, classes, size), classes], device=pair.device)
        repeats = (pair[1:] == pair[:-1]).any()
        # one wait for the device, where they are on one
        *edges, repeated = torch.cat([torch.searchsorted(pair, starts * samples),
                                      repeats[None].long()]).tolist()
        if repeated or edges[0] != 0 or edges[-1] != len(pair):
            raise CorekitError(_problem(pair.tolist(), samples, classes, key))
        pair = pair.to(hidden.device, non_blocking=True)
        row, sample = pair // samples, pair % samples
        if isinstance(logits, Tensor):
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return F.softplus(wide).sum() - wide[sample, row].sum()
        total: Tensor = _Blockwise.apply(*logits, sample, row, edges, size, torch.is_grad_enabled())
        return total

    def guessing(self, label_rows: Tensor, label_offsets: Tensor) -> Guess:
        """Each class is as likely as it is frequent."""
        return of_many_labels(label_rows, len(label_offsets) - 1)


class _Blockwise(GradInForward):
    """The sum and its gradients."""

    @staticmethod
    def forward(ctx: Context, hidden: Tensor, weight: Tensor, bias: Tensor | None, sample: Tensor,
                row: Tensor, edges: Sequence[int], size: int, learning: bool) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        precise, hidden_grad, weight_grad, bias_grad = GradInForward.start(
            ctx, hidden, weight, bias, learning)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        output = LinearOutput(hidden, weight, bias)
        with torch.autocast(hidden.device.type, enabled=False):
            for number, first in enumerate(range(0, len(weight), size)):
                part = slice(first, min(first + size, len(weight)))
                logits = output.block(part.start, part.stop).dense().to(wide)
                pairs = slice(edges[number], edges[number + 1])
                positives = sample[pairs], row[pairs] - first
                total += F.softplus(logits).sum() - logits[positives].sum()
                grad = logits.sigmoid_()
                grad[positives] -= 1
                if bias_grad is not None:
                    bias_grad[part] = grad.sum(0)
                grad = grad.to(precise)
                if hidden_grad is not None:
                    hidden_grad += grad @ weight[part].to(precise)
                if weight_grad is not None:
                    weight_grad[part] = grad.T @ hidden.to(precise)
        return total


def _problem(pairs: Sequence[int], samples: int, classes: int, key: Sequence[str]) -> str:
    """A sentence about rows of which one is no class, or is there twice."""
    before = None
    for pair in pairs:
        row, sample = pair // samples, pair % samples
        rows_of = f"{NAME}: label_rows of sample {key[sample] if key else sample} hold {row}"
        if not 0 <= row < classes:
            return (f"{rows_of}, but the head has {classes} classes: make the model's num_classes "
                    "the size of the vocabulary that the labels were made with")
        if pair == before:
            return f"{rows_of} twice; a class is there or not"
        before = pair
    raise AssertionError("some row is wrong")
