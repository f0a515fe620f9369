"""The loss of each sample of a step: what a batch's figure is made of."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from corekit.data.datasets.base import Batch
from corekit.data.fields import Field
from corekit.data.loading.collate import cut
from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.train.step.accumulate import Step
from corekit.train.step.grad_cache import GradCacheStep
from corekit.train.step.loss_terms import WeightedLoss, step_divisors
from corekit.train.step.prepare import MicroBatch
from corekit.wiring import Outputs

Losses = list[dict[str, float]]  # of each sample: part -> its figure


@torch.no_grad()
def sample_losses(step: Step, read: Sequence[Batch], number: int,
                  fields: Mapping[str, Field]) -> Losses:
    """Every named part of the loss for each sample of a step, on the weights as they are.

    The forward pass has the step's random numbers. A part's figures, weighted as the loss weights
    samples, have the part's own figure as their mean.

    Args:
        step: of a single process.
        read: the micro-batches as they were read.
        number: of the step, counted from 0.
        fields: of the samples.

    Raises:
        CorekitError: a loss cannot be told apart by samples.
    """
    micro_batches = step.micro_batches(read, number)
    outputs = [step.forward.without_gradient(micro_batch.prepared(), number, place)
               for place, micro_batch in enumerate(micro_batches)]
    losses: Losses = [{} for batch in read for _ in batch["key"]]
    for loss in step.losses:
        parts = (_of_rows(step, loss, micro_batches, outputs) if loss.entry.compares_samples
                 else _of_samples(step, loss, micro_batches, outputs, fields))
        for sample, values in zip(losses, parts, strict=True):
            sample.update(values)
    return losses


def _of_samples(step: Step, loss: WeightedLoss, micro_batches: Sequence[MicroBatch],
                outputs: Sequence[Outputs], fields: Mapping[str, Field]) -> Losses:
    """A sample loss, called with one sample at a time."""
    losses: Losses = []
    for micro_batch, own in zip(micro_batches, outputs):
        batch, count = micro_batch.prepared(), len(micro_batch)
        of_step = {name: batch.pop(name) for name in ("step", "steps")}
        read_batch = {name: micro_batch.read[name] for name in batch if name in micro_batch.read}
        for row in range(count):
            entries = {**cut(batch, row, row + 1, fields), **of_step,
                       **{name: _row(loss, name, value, row, count) for name, value in own.items()}}
            read = cut(read_batch, row, row + 1, fields)
            divisors = step_divisors([loss], [read], step.forward.group)
            sums = loss.wiring.function(**loss.arguments(entries, read))
            losses.append({part: float(mean) for part, mean in loss.means(sums, divisors)})
    return losses


def _row(loss: WeightedLoss, name: str, value: Tensor | LinearOutput, row: int,
         count: int) -> Tensor | LinearOutput:
    """A sample's own row of an output; a value without dimensions is every sample's."""
    rows = value.hidden if isinstance(value, LinearOutput) else value
    if rows.dim() == 0:
        return value
    if len(rows) != count:
        if name not in loss.wiring.reads.values():
            return value
        raise CorekitError(f"loss `{loss.label}` reads `{name}`, which has not a row for each "
                           "sample: it has no figure of a single sample")
    own = rows[row:row + 1]
    return value._replace(hidden=own) if isinstance(value, LinearOutput) else own


def _of_rows(step: Step, loss: WeightedLoss, micro_batches: Sequence[MicroBatch],
             outputs: Sequence[Outputs]) -> Losses:
    """A batch loss: the shares of its rows, times their number."""
    if not loss.entry.takes_rows:
        raise CorekitError(f"loss `{loss.label}` compares all samples and has no parameter `rows`: "
                           "it has no figure of a single sample")
    assert isinstance(step, GradCacheStep)
    entries, _ = step.gather([loss], micro_batches, outputs)
    arguments, count = loss.arguments(entries), sum(map(len, micro_batches))
    return [{part: count * float(value) for part, value in
             loss.parts(loss.wiring.function(**arguments, rows=slice(row, row + 1)))}
            for row in range(count)]
