"""One optimizer step's forward and backward passes over this rank's micro-batches.

Gradients are those of the whole step's loss, summed over micro-batches and ranks: how many ranks
share the micro-batches changes nothing but rounding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from corekit.data.loading.loader import Batch
from corekit.distributed.batch_norm_stats import RunningStatistics
from corekit.distributed.fsdp import synchronised
from corekit.distributed.process_group import ProcessGroup
from corekit.optim.loss_scale import Precision
from corekit.seeds import derive_seed
from corekit.train.wiring import Wiring, rename_outputs

Outputs = dict[str, Any]


@dataclass(frozen=True)
class WeightedLoss:
    """One loss of the recipe: its label, its weight, and whether it compares samples with each
    other.

    A *sample loss* returns the sum over the samples it is given, as a tensor or as part -> tensor;
    its optional method ``weights`` says from batch entries alone what each sum is to be divided by
    (the number of samples where there is no such method). A *batch loss* (``compares_samples =
    True``) is given the values of all samples of the step, and returns this rank's share of the
    loss of the rows it is asked for. Its optional attribute ``gathered_as`` (parameter -> dtype)
    says which batch entries may travel between ranks in fewer bits. """

    label: str
    weight: float
    wiring: Wiring
    weights: Wiring | None
    compares_samples: bool
    takes_rows: bool = False
    gathered_as: Mapping[str, torch.dtype] = field(default_factory=dict)  # entry -> dtype


class Step:
    """Forward and backward of one step.

    Args:
        model: the module, wrapped for several ranks or not.
        plain_model: the module itself.
        model_wiring: how batch entries reach ``model``.
        outputs: the recipe's ``model.outputs``.
        frozen: modules run without gradient on every micro-batch.
        terms: the losses.
        ranks: this process among the others.
        place: puts a micro-batch on the device, ready for the model; called when it is needed, so
            that one is there at a time.
        precision: of the forward pass; its loss scale is in the gradients.
        seed: of dropout and the like.
        micro_batches: on all ranks together.
        steps: of the whole run; models and losses may ask for it, for ``step`` and for ``uniform``,
            by name.
    """

    def __init__(self, model: nn.Module, plain_model: nn.Module, model_wiring: Wiring,
                 outputs: Mapping[str, str] | str | None, frozen: Sequence["Frozen"],
                 terms: Sequence[WeightedLoss], ranks: ProcessGroup, place: Callable[[Batch],
                                                                                     Batch],
                 precision: Precision, seed: int, micro_batches: int, steps: int = 1) -> None:
        self.model, self.plain_model, self.model_wiring, self.outputs = model, plain_model, model_wiring, outputs
        self.frozen, self.terms, self.ranks, self.seed = frozen, terms, ranks, seed
        self.place, self.precision, self.steps = place, precision, steps
        self.own = micro_batches // ranks.world
        self.statistics = RunningStatistics(plain_model)

    def __call__(self, batches: list[Batch], step: int,
                 asks: Sequence[float] = ()) -> tuple[dict[str, float], list[float]]:
        """Add the step's gradients, times the loss scale, to the parameters.

        Whoever calls ends the step with ``statistics.commit()``, or ``statistics.discard()`` where
        it does not count.

        Args:
            batches: this rank's micro-batches, where they were read.
            step: the number of the step, which its random numbers are keyed by.
            asks: what this rank wants all ranks to know; it travels with the losses.

        Returns:
            the loss and every named part of the whole step, and the sums of ``asks``, the same on
            all ranks.
        """
        for batch, uniform in zip(batches, self._uniform(step, len(batches[0]["key"])),
                                  strict=True):
            batch.update(self._clock(step), uniform=uniform)
        divisors = self._divisors(batches)
        parts: dict[str, Tensor] = {}
        several = len(batches) > 1
        self.statistics.begin()
        cached: Outputs | None = None
        compares = any(term.compares_samples for term in self.terms)
        grads: list[dict[str, Tensor]] = [{} for _ in batches]
        placed: Batch = {}
        if compares:
            # GradCache: outputs of all micro-batches, the loss's grad at them, then each
            # micro-batch once more.
            outputs = []
            for at, batch in enumerate(batches):
                placed = self._place(batch, first_time=True)
                with torch.set_grad_enabled(not several):
                    outputs.append(self._forward(placed, step, at, direct=several))
                if several:
                    self.statistics.collect(first_time=True)
            grads = self._compare(batches, outputs, parts, self._clock(step))
            cached = None if several else outputs[0]
        for at, batch in enumerate(batches):
            with synchronised(self.model, at == len(batches) - 1):
                placed = placed if cached is not None else self._place(
                    batch, first_time=not compares)
                values = cached if cached is not None else self._forward(placed, step, at)
                self._backward({**placed, **values}, values, grads[at], divisors, parts)
            # only now: the backward pass refuses statistics that were changed since the forward
            # pass
            if several:
                self.statistics.collect(first_time=not compares)
        return self._total(parts, asks)

    def rehearse(self, batch: Batch) -> None:
        """A micro-batch's forward and backward pass that leaves no trace but in the wrapper's own
        set-up.
        """
        self.statistics.begin()
        placed = self._place({**batch, **self._clock(0), "uniform": torch.zeros(len(batch["key"]))},
                             first_time=True)
        values = tree_leaves(self._forward(placed, 0, 0))  # of a LinearOutput, its tensors
        roots = [value for value in values if isinstance(value, Tensor) and value.requires_grad]
        torch.autograd.backward(roots, [torch.zeros_like(value) for value in roots])
        self.statistics.discard()

    def _clock(self, step: int) -> dict[str, Any]:
        """What the engine itself offers to models and losses."""
        return {"step": step, "steps": self.steps}

    def _uniform(self, step: int, samples: int) -> Tensor:
        """A number in [0, 1) of every sample of this rank's micro-batches, float32 [own, samples],
        whoever computes it.

        Models and losses that have to draw alike ask for it by the name ``uniform``.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "draw", step))
        # as one row: sizes change nothing
        everything = torch.rand(self.ranks.world, self.own, samples, generator=generator)
        return everything[self.ranks.rank]

    def _place(self, batch: Batch, first_time: bool) -> Batch:
        """A micro-batch on the device, with what the frozen modules say of it: they run once and
        are remembered.
        """
        placed = self.place(batch)
        if first_time:
            for module in self.frozen:
                with torch.no_grad(), self.precision.autocast(self.ranks.device):
                    said = module(placed)
                batch.update(said)
                placed.update(said)
        return placed

    def _forward(self, batch: Batch, step: int, at: int, direct: bool = False) -> Outputs:
        # of this micro-batch in the step, whoever computes it
        number = self.ranks.rank * self.own + at
        torch.manual_seed(derive_seed(self.seed, "model", step, number))
        model = self.plain_model if direct else self.model
        with self.precision.autocast(self.ranks.device):
            return rename_outputs(model(**self.model_wiring.pick(batch)), self.outputs)

    def _divisors(self, batches: list[Batch]) -> dict[str, Tensor]:
        """What each sample loss's sums are divided by: weights summed over micro-batches and
        ranks.
        """
        divisors: dict[str, Tensor] = {}
        for term in self.terms:
            if term.compares_samples:
                continue
            for batch in batches:
                weights = term.weights(batch) if term.weights is not None else len(batch["key"])
                for part, weight in _named(term.label, weights):
                    weight = torch.as_tensor(weight, dtype=torch.float64, device="cpu")
                    divisors[part] = divisors.get(part, torch.zeros(
                        (), dtype=torch.float64)) + weight
        if divisors and self.ranks.world > 1:
            device = self.ranks.device if self.ranks.device.type == "cuda" else torch.device("cpu")
            summed = self.ranks.sum(torch.stack(list(divisors.values())).to(device)).cpu()
            divisors = dict(zip(divisors, summed))
        return divisors

    def _compare(self, batches: list[Batch], outputs: list[Outputs], parts: dict[str, Tensor],
                 clock: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Run the batch losses on the values of all ranks; their grads at this rank's outputs, per
        micro-batch.
        """
        terms = [term for term in self.terms if term.compares_samples]
        wanted = {name for term in terms for name in term.wiring.reads.values()}
        leaves: dict[str, Tensor] = {}
        entries = dict(clock)
        for name in sorted((wanted & (outputs[0].keys() | batches[0].keys())) - clock.keys()):
            pieces = [values[name] if name in values else batch[name].to(self.ranks.device)
                      for values, batch in zip(outputs, batches)]
            if name in outputs[0] and pieces[0].is_floating_point():
                # a global value such as the logit scale: every micro-batch has the same
                single = pieces[0].dim() == 0
                value = pieces[0] if single else self.ranks.gather_rows(torch.cat(pieces).detach())
                leaves[name] = entries[name] = value.detach().requires_grad_()
            else:
                asked = {
                    term.gathered_as.get(name) for term in terms
                    if name in term.wiring.reads.values()
                }
                dtype = asked.pop() if len(asked) == 1 else None  # where losses disagree, as it is
                entries[name] = self.ranks.gather_rows(
                    torch.cat(pieces).to(dtype or pieces[0].dtype))
        count = sum(len(batch["key"]) for batch in batches)
        rows = slice(self.ranks.rank * count, (self.ranks.rank + 1) * count)
        objective = torch.zeros((), device=self.ranks.device)
        for term in terms:
            more = {"rows": rows} if term.takes_rows else {}
            for part, value in _named(term.label, term.wiring(entries, **more)):
                value = value if term.takes_rows else value / self.ranks.world
                parts[part] = parts.get(part, torch.zeros((), device=value.device)) + value.detach()
                objective = objective + term.weight * value
        objective.backward()  # type: ignore[no-untyped-call]
        grads: list[dict[str, Tensor]] = [{} for _ in batches]
        for name, leaf in leaves.items():
            grad = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
            if leaf.dim() == 0:
                # this rank's share: the sum over ranks adds the others. The last micro-batch,
                # because DDP waits for every parameter in the backward pass that it synchronises.
                grads[-1][name] = grad
            else:
                for target, piece in zip(grads, self.ranks.sum_rows(grad).chunk(len(batches))):
                    target[name] = piece
        return grads

    def _backward(self, entries: Mapping[str, Any], outputs: Outputs, grads: dict[str, Tensor],
                  divisors: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
        roots: list[Tensor] = []
        gradients: list[Tensor | None] = []
        for term in self.terms:
            if term.compares_samples:
                continue
            with torch.autocast(self.ranks.device.type, enabled=False):
                for part, total in _named(term.label, term.wiring(entries)):
                    mean = total / divisors[part].clamp(min=1e-12).to(total)
                    parts[part] = parts.get(part, torch.zeros(
                        (), device=total.device)) + mean.detach()
                    roots.append(term.weight * self.precision.loss_scale * mean)
                    gradients.append(None)
        for name, grad in grads.items():
            if outputs[name].requires_grad:
                roots.append(outputs[name])
                gradients.append((grad * self.precision.loss_scale).to(outputs[name].dtype))
        torch.autograd.backward(roots, gradients)

    def _total(self, parts: dict[str, Tensor],
               asks: Sequence[float]) -> tuple[dict[str, float], list[float]]:
        weights = {term.label: term.weight for term in self.terms}
        values = torch.stack([value.detach() for value in parts.values()])
        everything = self.ranks.sum(torch.cat([values, values.new_tensor(asks)])).tolist()
        found = dict(zip(parts, everything))
        total = sum(weights[part.split("/")[0]] * value for part, value in found.items())
        return {"loss": total, **(found if len(found) > 1 else {})}, everything[len(parts):]


@dataclass(frozen=True)
class Frozen:
    """A module run without gradient before the losses: an online teacher, a locked tower."""

    label: str
    wiring: Wiring
    outputs: Mapping[str, str] | str | None

    def __call__(self, batch: Batch) -> Outputs:
        return rename_outputs(self.wiring(batch), self.outputs)


def _named(label: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of every part of what a loss returned: the label itself, or label/part."""
    if isinstance(value, Mapping):
        for part, item in value.items():
            yield f"{label}/{part}", item
    else:
        yield label, value
