"""One optimizer step's gradients where a loss compares samples with each other: GradCache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from corekit.distributed.fsdp import synchronised
from corekit.train.step.accumulate import Step
from corekit.train.step.forward import Forward
from corekit.train.step.loss_terms import StepFigures, WeightedLoss
from corekit.train.step.prepare import MicroBatch, Prepare
from corekit.wiring import Outputs


class GradCacheStep(Step):
    """Forward and backward of one step whose losses need the values of all its samples.

    GradCache (Gao et al., 2021): the outputs of all micro-batches without a graph, the loss's
    gradient at them, then each micro-batch once more, with the same random numbers, and backward
    from that gradient. A rank with one micro-batch keeps its graph instead and computes it once.
    """

    def add_gradients(self, micro_batches: Sequence[MicroBatch], step: int) -> StepFigures:
        """Two passes over the micro-batches; what the losses sum up to on this rank."""
        figures = StepFigures()
        if len(micro_batches) == 1:
            divisors = self.divisors(micro_batches)
            with synchronised(self.forward.model, last=True):
                batch = micro_batches[0].prepared()
                own = self.forward(batch, step, 0)
                grads = self._compare(micro_batches, [own], figures)
                self.backward(micro_batches[0], batch, own, divisors, figures, grads[0])
            return figures
        outputs: list[Outputs] = []
        for number, micro_batch in enumerate(micro_batches):
            outputs.append(self.forward.without_gradient(micro_batch.prepared(), step, number))
            self.statistics.collect()
        grads = self._compare(micro_batches, outputs, figures)
        self.accumulate(micro_batches, step, figures, grads)
        return figures

    def _compare(self, micro_batches: Sequence[MicroBatch], outputs: Sequence[Outputs],
                 figures: StepFigures) -> list[dict[str, Tensor]]:
        """The batch losses of all ranks' values: gradients at the outputs of each micro-batch."""
        group = self.forward.group
        losses = [loss for loss in self.losses if loss.entry.compares_samples]
        entries, leaves = self.gather(losses, micro_batches, outputs)
        count = sum(map(len, micro_batches))
        rows = slice(group.rank * count, (group.rank + 1) * count)
        objective = torch.zeros((), device=group.device)
        for loss in losses:
            # a loss that cannot compute a share computes the whole on every rank
            more, ranks = ({"rows": rows}, 1) if loss.entry.takes_rows else ({}, group.world)
            result = loss.wiring.function(**loss.arguments(entries), **more)
            for part, value in loss.parts(result):
                share = value if ranks == 1 else value / ranks
                figures.add(part, share)
                objective = objective + loss.weight * share
        objective.backward()  # type: ignore[no-untyped-call]
        return self._own_grads(leaves, len(micro_batches))

    def gather(self, losses: Sequence[WeightedLoss], micro_batches: Sequence[MicroBatch],
               outputs: Sequence[Outputs]) -> tuple[dict[str, object], dict[str, Tensor]]:
        """What the losses read, of all ranks, and those of it that get a gradient."""
        group, leaves = self.forward.group, dict[str, Tensor]()
        known = [{**each.moved, **(each.frozen_outputs or {}), **output}
                 for each, output in zip(micro_batches, outputs)]
        entries: dict[str, object] = {name: known[0][name] for name in ("step", "steps")}
        read = {name for loss in losses for name in loss.wiring.reads.values()}
        for name in sorted(read & known[0].keys() - entries.keys()):
            pieces = [values[name].to(group.device) for values in known]
            if name in outputs[0] and pieces[0].is_floating_point():
                # without dimensions it is a global value, alike in every micro-batch: logit_scale
                value = pieces[0] if pieces[0].dim() == 0 else group.gather_rows(
                    torch.cat(pieces).detach())
                entries[name] = leaves[name] = value.detach().requires_grad_()
            else:
                dtypes = {loss.gathered_as.get(name) for loss in losses
                          if name in loss.wiring.reads.values()}
                # where losses disagree, it travels as it is
                dtype = dtypes.pop() if len(dtypes) == 1 else None
                entries[name] = group.gather_rows(torch.cat(pieces).to(dtype or pieces[0].dtype))
        return entries, leaves

    def _own_grads(self, leaves: dict[str, Tensor], count: int) -> list[dict[str, Tensor]]:
        grads: list[dict[str, Tensor]] = [{} for _ in range(count)]
        for name, leaf in leaves.items():
            grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            if leaf.dim() == 0:
                # This rank's share: the sum over ranks adds the others. It goes to the last
                # micro-batch, because DDP waits for every parameter in the backward pass that it
                # synchronises.
                grads[-1][name] = grad
            else:
                for target, piece in zip(grads, self.forward.group.sum_rows(grad).chunk(count)):
                    target[name] = piece
        return grads


def make_step(forward: Forward, losses: Sequence[WeightedLoss], prepare: Prepare,
              steps: int = 1) -> Step:
    """The plain loop, or GradCache where a loss compares samples."""
    compares = any(loss.entry.compares_samples for loss in losses)
    return (GradCacheStep if compares else Step)(forward, losses, prepare, steps)
