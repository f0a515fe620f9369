"""The losses of a recipe: their weights, what their sums are divided by, and a step's figures."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from corekit.data.datasets.base import Batch
from corekit.distributed.process_group import ProcessGroup
from corekit.losses.base import LossEntry, Parts, Weights
from corekit.losses.guess import Guess
from corekit.wiring import Values, Wiring

T = TypeVar("T")
Divisors = dict[str, Tensor]  # part -> what its sum over the step is divided by, float64 []


@dataclass(frozen=True)
class WeightedLoss:
    """One loss of the recipe, wired to the entries that it reads."""

    label: str  # what the recipe calls it; its parts are called ``label/part``
    weight: float  # its share in the loss of the step
    entry: LossEntry  # what the trainer knows of the loss itself
    wiring: Wiring[Parts]  # calls it
    weights: Wiring[Weights] | None  # None: a sum is divided by the number of samples
    gathered_as: Mapping[str, torch.dtype]  # entry -> dtype that it travels between ranks in
    on_cpu: frozenset[str]  # entries that it gets on the CPU
    guessing: Wiring[Guess] | None = None  # None: not known

    @classmethod
    def of(cls, loss: Callable[..., Parts], label: str, weight: float = 1.0,
           name: str | None = None, inputs: Mapping[str, str] | None = None) -> "WeightedLoss":
        """Wire a loss of the registry, which messages call by its name, or else by its label.

        ``inputs``, parameter -> entry, names the entries that are called differently.
        """
        entry, title = LossEntry.of(loss), f"loss `{name or label}`"
        wiring = Wiring.of(title, entry.function, entry.signature_of, inputs, ignore=("rows",))
        weights = _beside(wiring, "weights", entry.weights)
        guessing = _beside(wiring, "guessing", entry.guessing)
        dtypes = {wiring.reads[parameter]: dtype for parameter, dtype in entry.gathered_as.items()}
        on_cpu = frozenset(wiring.reads[parameter] for parameter in entry.on_cpu)
        return cls(label, weight, entry, wiring, weights, dtypes, on_cpu, guessing)

    def arguments(self, entries: Values, read: Batch | None = None) -> dict[str, Any]:
        """The keyword arguments of the loss; those of ``on_cpu`` as they were ``read``."""
        on_cpu = {name: read[name] for name in self.on_cpu if name in read} if read else {}
        return self.wiring.pick({**entries, **on_cpu})

    def parts(self, value: Parts) -> list[tuple[str, Tensor]]:
        """(name, figure) of every part of what the loss returned."""
        return _named(self.label, value)

    def means(self, sums: Parts, divisors: Divisors) -> Iterator[tuple[str, Tensor]]:
        """(name, share in the step's mean) of every part of a micro-batch's sums."""
        for part, total in self.parts(sums):
            # a loss may have one weight for all of its parts
            divisor = divisors[part] if part in divisors else divisors[self.label]
            yield part, total / divisor.clamp(min=1e-12).to(total)


class StepFigures(dict[str, Tensor]):
    """The sums of a step by part, as far as they have been computed on this rank."""

    def add(self, part: str, value: Tensor) -> None:
        """Add a share of a part."""
        self[part] = self.get(part, torch.zeros((), device=value.device)) + value.detach()


def step_divisors(losses: Iterable[WeightedLoss], batches: Sequence[Batch],
                  group: ProcessGroup) -> Divisors:
    """What the sums of sample losses are divided by: weights over all micro-batches and ranks.

    They depend on batch entries alone, so they are known before the first backward pass.
    """
    divisors: Divisors = {}
    for loss in losses:
        for batch in batches:
            weights = len(batch["key"]) if loss.weights is None else loss.weights(batch)
            for part, weight in _named(loss.label, weights):
                total = divisors.get(part, torch.zeros((), dtype=torch.float64))
                divisors[part] = total + torch.as_tensor(weight, dtype=torch.float64, device="cpu")
    if divisors and group.world > 1:
        device = group.device if group.device.type == "cuda" else torch.device("cpu")
        summed = group.sum(torch.stack(list(divisors.values())).to(device)).cpu()
        divisors = dict(zip(divisors, summed))
    return divisors


def totals(losses: Iterable[WeightedLoss], figures: StepFigures, group: ProcessGroup,
           requests: Sequence[float]) -> tuple[dict[str, float], list[float]]:
    """The figures of the whole step, and the sums over ranks of what each rank requests.

    The figures are ``loss`` and, where there are several, every part. One exchange does it.
    """
    weights = {loss.label: loss.weight for loss in losses}
    values = torch.stack(list(figures.values()))
    summed = group.sum(torch.cat([values, values.new_tensor(requests)])).tolist()
    parts = dict(zip(figures, summed))
    loss = sum(weights[part.split("/")[0]] * value for part, value in parts.items())
    return {"loss": loss, **(parts if len(parts) > 1 else {})}, summed[len(parts):]


def _beside(wiring: Wiring[Parts], name: str,
            method: Callable[..., T] | None) -> Wiring[T] | None:
    """The wiring of a loss's own method, whose parameters are renamed as those of the loss are."""
    if method is None:
        return None
    renamed = {parameter: wiring.reads[parameter] for parameter in
               inspect.signature(method).parameters if parameter in wiring.reads}
    return Wiring.of(f"{wiring.label} ({name})", method, rename=renamed)


def _named(label: str, value: T | Mapping[str, T]) -> list[tuple[str, T]]:
    """(name, value) of every part of what a loss returned: the label itself, or label/part."""
    if isinstance(value, Mapping):
        return [(f"{label}/{part}", item) for part, item in value.items()]
    return [(label, value)]
