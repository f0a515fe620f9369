"""Run by test_accumulate.py on one rank of several: one step's gradients of small float64 models,
saved to a file.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.data.fields import find_fields
from corekit.data.loading.collate import split
from corekit.data.loading.ragged import pack
from corekit.distributed.fsdp import full, shard
from corekit.distributed.process_group import ProcessGroup, connect, disconnect, wrap
from corekit.linear_output import LinearOutput
from corekit.losses.binary_cross_entropy import BinaryCrossEntropy
from corekit.losses.contrastive import Contrastive
from corekit.train.step.loss_terms import WeightedLoss
from tests.train.step.steps import step_of

SAMPLES, CLASSES, STEP = 24, 11, 5
FIELDS = find_fields(["label_rows"])  # the rest is cut by its first dimension


class Pair(nn.Module):
    """Two small towers, with or without batch statistics and dropout."""

    def __init__(self, norm: bool, dropout: float = 0.0) -> None:
        super().__init__()
        # two layers: FSDP2 shards each of them, and the rest together
        self.image_tower = nn.Sequential(
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.GELU()),
            nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 4)))
        self.text_tower = nn.Linear(5, 4)
        self.head = nn.Linear(8, 3)
        self.wide_head = nn.Linear(8, CLASSES)
        self.branch = nn.Linear(8, 3)  # of some micro-batches
        self.logit_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        hidden = self.image_tower[0](image)
        return {"image_features": F.normalize(self.image_tower[1](hidden), dim=-1),
                "text_features": F.normalize(self.text_tower(text), dim=-1),
                "logit_scale": self.logit_scale.exp(), "logits": self.head(hidden),
                "some_logits": (self.branch if image[0, 0] > 0 else self.head)(hidden),
                "wide_logits": LinearOutput.of(hidden, self.wide_head)}


class Masked:
    """A sample loss whose samples weigh differently: cross-entropy where ``mask`` is set, by a
    weight that is drawn.
    """

    def weights(self, mask: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        return {"masked": (mask * uniform).sum()}

    def __call__(self, logits: Tensor, label: Tensor, mask: Tensor,
                 uniform: Tensor) -> dict[str, Tensor]:
        loss = F.cross_entropy(logits, label, reduction="none")
        return {"masked": (loss * mask * uniform).sum()}


class MicroBatchMean:
    """A loss that is the mean of a micro-batch, as detection's are: over samples that it picks by
    their own values.
    """

    weights = 1

    def __call__(self, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
        loss = F.cross_entropy(logits, label, reduction="none")
        return {"hard": loss[loss >= loss.mean()].mean(), "all": loss.mean()}


def batch() -> dict[str, object]:
    generator = torch.Generator().manual_seed(3)

    def draw(width: int) -> Tensor:
        return torch.randn(SAMPLES, width, generator=generator, dtype=torch.float64)

    rows, offsets = pack([range(number % 4) for number in range(SAMPLES)])
    return {
        "key": [str(number) for number in range(SAMPLES)],
        "image": draw(6),
        "text": draw(5),
        "label_rows": rows,
        "label_offsets": offsets,
        "label": torch.arange(SAMPLES) % 3,
        "mask": (torch.arange(SAMPLES) % 5 > 1).double(),
    }


def losses(which: str) -> list[WeightedLoss]:
    pair = WeightedLoss.of(Contrastive(block=7), "contrastive", 0.7)
    single = WeightedLoss.of(Masked(), "masked", 1.3)
    wide = WeightedLoss.of(BinaryCrossEntropy(block=4), "wide", 0.9,
                           inputs={"logits": "wide_logits"})
    some = WeightedLoss.of(Masked(), "some", inputs={"logits": "some_logits"})
    return {"contrastive": [pair], "masked": [single], "both": [pair, single], "wide": [wide],
            "some": [some],
            "mean": [WeightedLoss.of(MicroBatchMean(), "mean", 0.6)]}[which]


def model(norm: bool, dropout: float = 0.0) -> Pair:
    torch.manual_seed(0)
    return Pair(norm, dropout).double()


def one_step(group: ProcessGroup, which: str, norm: bool, dropout: float, micro_batches: int,
             sharded: bool = False) -> dict[str, Tensor]:
    """Gradients, losses and statistics after one step."""
    plain = model(norm, dropout)
    wrapped = shard(plain, group) if sharded else wrap(plain, group)
    step = step_of(plain, losses(which), micro_batches, group, wrapped)
    own = split(split(batch(), group.world, FIELDS)[group.rank], micro_batches // group.world,
                FIELDS)
    entries_before = [dict(each) for each in own]
    figures, requests = step(own, STEP, [1.0, float(group.rank)])
    assert requests == [group.world, sum(range(group.world))]
    assert [each.keys() for each in own] == [each.keys() for each in entries_before], "as read"
    step.statistics.commit()
    step.statistics.average(group)
    gradients = {name: full(value.grad) for name, value in plain.named_parameters()
                 if value.grad is not None}
    values = {f"loss {name}": torch.tensor(value, dtype=torch.float64)
              for name, value in figures.items()}
    buffers = {f"buffer {name}": value.clone() for name, value in plain.named_buffers()}
    return {**gradients, **values, **buffers}


def cases(world: int) -> Iterator[tuple[str, bool, float, int]]:
    """(losses, batch norm, dropout, micro-batches) that this many ranks can share."""
    settings = ((False, 0.0), (True, 0.0), (True, 0.3))
    for which in ("contrastive", "masked", "both", "wide", "mean", "some"):
        for norm, dropout in settings[:1] if which in ("wide", "mean", "some") else settings:
            for micro_batches in (1, 2, 4, 12):
                if micro_batches % world == 0:
                    yield which, norm, dropout, micro_batches


def main() -> None:
    torch.use_deterministic_algorithms(True)
    group = connect("ddp", "cpu")
    results: dict[str, dict[str, Tensor]] = {}
    for case in cases(group.world):
        results[str(case)] = one_step(group, *case)
        if group.world > 1:
            results[str(("fsdp", *case))] = one_step(group, *case, sharded=True)
    if group.is_first:
        torch.save(results, Path(sys.argv[1]) / f"{group.world}.pt")
    disconnect()
