"""From a micro-batch as it was read to what the model and the losses get."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from corekit.data.datasets.base import Batch
from corekit.wiring import Outputs, Wiring, rename_outputs

Autocast = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Frozen:
    """A module run without gradient before the losses: an online teacher, a locked tower."""

    label: str
    wiring: Wiring[object]
    outputs: Mapping[str, str] | str | None

    def __call__(self, batch: Batch) -> Outputs:
        return rename_outputs(self.wiring(batch), self.outputs)


@dataclass(frozen=True)
class Prepare:
    """Makes a new batch of one that was read, which stays as it is.

    ``place`` puts it on the device with images normalised; ``frozen`` modules add their outputs,
    computed under ``autocast``.
    """

    place: Callable[[Batch], Batch]
    frozen: Sequence[Frozen] = ()
    autocast: Autocast = contextlib.nullcontext

    @torch.no_grad()
    def run_frozen(self, batch: Batch) -> Outputs:
        """The outputs of all frozen modules for a micro-batch on the device."""
        outputs: Outputs = {}
        for module in self.frozen:
            with self.autocast():
                outputs.update(module({**batch, **outputs}))
        return outputs


class MicroBatch:
    """A micro-batch as it was read, and what the model gets of it.

    It comes to the device when it is needed, so that the images of one micro-batch are there at a
    time. ``read`` has its entries on the CPU, ``moved`` the same ones on the device, or wherever
    they are.
    """

    def __init__(self, read: Batch, moved: Batch, prepare: Prepare) -> None:
        self.read, self.moved, self._prepare = read, moved, prepare
        self.frozen_outputs: Outputs | None = None

    def prepared(self) -> Batch:
        """A new dict for the model and the losses; frozen modules run the first time only."""
        batch = self._prepare.place(self.moved)
        if self.frozen_outputs is None:
            self.frozen_outputs = self._prepare.run_frozen(batch)
        return {**batch, **self.frozen_outputs}

    def __len__(self) -> int:
        return len(self.read["key"])
