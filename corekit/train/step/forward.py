"""The forward pass of a micro-batch, and the random numbers of a step."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from corekit.data.datasets.base import Batch
from corekit.distributed.process_group import ProcessGroup
from corekit.optim.loss_scale import Precision
from corekit.seeds import derive_seed
from corekit.wiring import Outputs, Wiring, rename_outputs


@dataclass(frozen=True)
class StepRandom:
    """Random numbers keyed by (seed, step, place in the batch), whichever rank asks for them."""

    seed: int  # of the run
    group: ProcessGroup
    micro_batches: int = 1  # of a step, on all ranks together

    @property
    def own(self) -> int:
        """How many micro-batches of a step this rank computes."""
        return self.micro_batches // self.group.world

    def seed_forward(self, step: int, number: int) -> None:
        """Seed torch for the forward pass of one of this rank's micro-batches."""
        place = self.group.rank * self.own + number
        torch.manual_seed(derive_seed(self.seed, "model", step, place))

    def uniform(self, step: int, samples: int) -> Tensor:
        """A number in [0, 1) for every sample of this rank: float32 [own, samples of each].

        Models and losses that have to draw alike ask for it by the name ``uniform``.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "draw", step))
        # drawn for all ranks as one row, so the sizes change nothing
        numbers = torch.rand(self.group.world, self.own, samples, generator=generator)
        return numbers[self.group.rank]


@dataclass(frozen=True)
class Forward:
    """Runs the model on micro-batches."""

    model: nn.Module  # wrapped for several ranks or not
    plain_model: nn.Module  # the module itself
    wiring: Wiring[object]  # how batch entries reach its ``forward``
    outputs: Mapping[str, str] | str | None  # the recipe's ``model.outputs``
    precision: Precision  # its loss scale is in the gradients
    random: StepRandom  # of dropout and the like

    @property
    def group(self) -> ProcessGroup:
        return self.random.group

    def __call__(self, batch: Batch, step: int, number: int) -> Outputs:
        """The outputs for one of this rank's micro-batches."""
        return self._run(self.model, batch, step, number)

    @torch.no_grad()
    def without_gradient(self, batch: Batch, step: int, number: int) -> Outputs:
        """The same numbers without a graph, and without the wrapper, which awaits a backward."""
        return self._run(self.plain_model, batch, step, number)

    def _run(self, model: nn.Module, batch: Batch, step: int, number: int) -> Outputs:
        self.random.seed_forward(step, number)
        with self.precision.autocast(self.group.device):
            return rename_outputs(model(**self.wiring.pick(batch)), self.outputs)
