"""One optimizer step's gradients: a plain loop over this rank's micro-batches.

Gradients are those of the whole step's loss, summed over micro-batches and ranks. How many ranks
share the micro-batches changes nothing but rounding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from corekit.data.datasets.base import Batch
from corekit.distributed.batch_norm_stats import RunningStatistics
from corekit.distributed.fsdp import synchronised
from corekit.train.step.forward import Forward
from corekit.train.step.loss_terms import Divisors, StepFigures, WeightedLoss, step_divisors, totals
from corekit.train.step.prepare import MicroBatch, Prepare
from corekit.train.step.unused_parameters import UnusedParameters, awaited_roots
from corekit.wiring import Outputs

Grads = Mapping[str, Tensor]  # output -> gradient of the loss at it


class Step:
    """Forward and backward of one step for losses that are sums over samples.

    Models and losses may ask by name for ``steps``, of the whole run, ``step`` and ``uniform``.
    """

    def __init__(self, forward: Forward, losses: Sequence[WeightedLoss], prepare: Prepare,
                 steps: int = 1) -> None:
        self.forward, self.losses, self.prepare, self.steps = forward, losses, prepare, steps
        self.sample_losses = [loss for loss in losses if not loss.entry.compares_samples]
        self.statistics = RunningStatistics(forward.plain_model)
        self.unused = UnusedParameters(forward.plain_model, forward.group)
        self.message: str | None = None  # about the last step

    @property
    def own_micro_batches(self) -> int:
        """How many micro-batches of a step this rank computes."""
        return self.forward.random.own

    def __call__(self, read: Sequence[Batch], step: int, requests: Sequence[float] = (),
                 moved: Sequence[Batch] | None = None) -> tuple[dict[str, float], list[float]]:
        """Add the step's gradients, times the loss scale, to the parameters.

        The caller ends the step with ``statistics.commit()``, or with ``statistics.discard()``
        where it does not count.

        Args:
            read: this rank's micro-batches as they were read.
            step: the number of the step, which its random numbers are keyed by.
            requests: what this rank wants all ranks to know; it travels with the losses.
            moved: the micro-batches on the device, where they have been moved already.

        Returns:
            the loss and every named part of the whole step, and the sums of ``requests``, the same
            on all ranks.
        """
        micro_batches = self.micro_batches(read, step, moved)
        self.statistics.begin(len(micro_batches))
        self.unused.begin()
        figures = self.add_gradients(micro_batches, step)
        missing = float(bool(self.unused.here()))
        losses, sums = totals(self.losses, figures, self.forward.group, [*requests, missing])
        unreached = self.unused.everywhere() if sums.pop() else []
        self.message = self.unused.sentence(unreached)
        return losses, sums

    def micro_batches(self, read: Sequence[Batch], step: int,
                      moved: Sequence[Batch] | None = None) -> list[MicroBatch]:
        """This rank's micro-batches with what models and losses may ask for beside."""
        uniform = self.forward.random.uniform(step, len(read[0]["key"]))
        return [self._micro_batch(*each, step=step)
                for each in zip(read, moved or read, uniform, strict=True)]

    def add_gradients(self, micro_batches: Sequence[MicroBatch], step: int) -> StepFigures:
        """Forward and backward of every micro-batch; what the losses sum up to on this rank."""
        figures = StepFigures()
        self.accumulate(micro_batches, step, figures)
        return figures

    def accumulate(self, micro_batches: Sequence[MicroBatch], step: int, figures: StepFigures,
                   grads: Sequence[Grads] = ()) -> None:
        """Forward and backward of every micro-batch; the sample losses are added to ``figures``.

        ``grads`` are those of the batch losses at the outputs of each micro-batch.
        """
        divisors = self.divisors(micro_batches)
        for number, micro_batch in enumerate(micro_batches):
            with synchronised(self.forward.model, last=number == len(micro_batches) - 1):
                batch = micro_batch.prepared()
                outputs = self.forward(batch, step, number)
                own_grads = grads[number] if grads else {}
                self.backward(micro_batch, batch, outputs, divisors, figures, own_grads)
            # after the backward pass, which refuses statistics that changed since the forward pass
            self.statistics.collect()

    def divisors(self, micro_batches: Sequence[MicroBatch]) -> Divisors:
        """What the sums of the sample losses are divided by."""
        batches = [micro_batch.read for micro_batch in micro_batches]
        return step_divisors(self.sample_losses, batches, self.forward.group)

    def backward(self, micro_batch: MicroBatch, batch: Batch, outputs: Outputs, divisors: Divisors,
                 figures: StepFigures, grads: Grads) -> None:
        """Back-propagate a micro-batch's sample losses, and gradients at its outputs."""
        scale = self.forward.precision.loss_scale
        roots: list[Tensor] = []
        with torch.autocast(self.forward.group.device.type, enabled=False):
            for loss in self.sample_losses:
                arguments = loss.arguments({**batch, **outputs}, micro_batch.read)
                sums = loss.wiring.function(**arguments)
                for part, mean in loss.means(sums, divisors):
                    figures.add(part, mean)
                    if mean.requires_grad:
                        roots.append(loss.weight * scale * mean)
        gradients: list[Tensor | None] = [None] * len(roots)
        for name, grad in grads.items():
            output = outputs[name]
            assert isinstance(output, Tensor), f"{name} has a gradient"
            if output.requires_grad:
                roots.append(output)
                gradients.append((grad * scale).to(output.dtype))
        awaited = awaited_roots(self.forward.model)
        if roots or awaited:
            torch.autograd.backward([*roots, *awaited], [*gradients, *[None] * len(awaited)])

    def rehearse(self, batch: Batch) -> None:
        """One micro-batch's forward and backward pass that only sets up the model's wrapper."""
        self.statistics.begin()
        micro_batch = self._micro_batch(batch, batch, torch.zeros(len(batch["key"])), 0)
        values = tree_leaves(self.forward(micro_batch.prepared(), 0, 0))  # a LinearOutput's tensors
        roots = [value for value in values if isinstance(value, Tensor) and value.requires_grad]
        roots += awaited_roots(self.forward.model)
        torch.autograd.backward(roots, [torch.zeros_like(value) for value in roots])
        self.statistics.discard()

    def _micro_batch(self, read: Batch, moved: Batch, uniform: Tensor, step: int) -> MicroBatch:
        offers = {"step": step, "steps": self.steps, "uniform": uniform}
        return MicroBatch({**read, **offers}, {**moved, **offers}, self.prepare)
