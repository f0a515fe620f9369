"""Run by test_step.py on one rank of several: one step's gradients of small float64 models, saved
to a file.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.data.loading.loader import split
from corekit.data.loading.ragged import pack
from corekit.distributed.fsdp import shard
from corekit.distributed.process_group import ProcessGroup, connect, disconnect, wrap
from corekit.linear_output import LinearOutput
from corekit.losses.binary_cross_entropy import BinaryCrossEntropy
from corekit.losses.contrastive import Contrastive
from corekit.optim.loss_scale import Precision
from corekit.train.accumulate import Step, WeightedLoss
from corekit.train.wiring import Wiring

SAMPLES, CLASSES, STEP = 24, 11, 5


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
        self.logit_scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        hidden = self.image_tower[0](image)
        return {"image_features": F.normalize(self.image_tower[1](hidden), dim=-1),
                "text_features": F.normalize(self.text_tower(text), dim=-1),
                "logit_scale": self.logit_scale.exp(), "logits": self.head(hidden),
                "wide_logits": LinearOutput.of(hidden, self.wide_head)}


class Masked:
    """A sample loss whose samples weigh differently: cross-entropy where ``mask`` is set, by a
    weight that is drawn.
    """

    def weights(self, mask: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        return {"masked": (mask * uniform).sum()}

    def __call__(self, logits: Tensor, label: Tensor, mask: Tensor,
                 uniform: Tensor) -> dict[str, Tensor]:
        return {"masked": (F.cross_entropy(logits, label, reduction="none") * mask * uniform).sum()}


def batch() -> dict[str, object]:
    generator = torch.Generator().manual_seed(3)

    def draw(width: int) -> Tensor:
        return torch.randn(SAMPLES, width, generator=generator, dtype=torch.float64)

    return {
        "key": [str(number) for number in range(SAMPLES)], "image": draw(6), "text": draw(5),
        **dict(
            zip(("label_rows", "label_offsets"),
                pack([range(number % 4) for number in range(SAMPLES)]))), "label":
            torch.arange(SAMPLES) % 3, "mask": (torch.arange(SAMPLES) % 5 > 1).double()
    }


def terms(which: str) -> list[WeightedLoss]:
    contrastive = Contrastive(block=7)
    wiring = Wiring.of("contrastive", contrastive, contrastive.__call__, ignore=("rows",))
    pair = WeightedLoss("contrastive", 0.7, wiring, None, True, True)
    masked = Masked()
    single = WeightedLoss("masked", 1.3, Wiring.of("masked", masked, masked.__call__),
                          Wiring.of("weights", masked.weights), False)
    wide = BinaryCrossEntropy(block=4)
    blocks = WeightedLoss("wide", 0.9,
                          Wiring.of("wide", wide, wide.__call__, rename={"logits": "wide_logits"}),
                          None, False)
    return {"contrastive": [pair], "masked": [single], "both": [pair, single],
            "wide": [blocks]}[which]


def model(norm: bool, dropout: float = 0.0) -> Pair:
    torch.manual_seed(0)
    return Pair(norm, dropout).double()


def one_step(ranks: ProcessGroup, which: str, norm: bool, dropout: float, micro_batches: int,
             sharded: bool = False) -> dict[str, Tensor]:
    """Gradients, losses and statistics after one step."""
    plain = model(norm, dropout)
    # DDP waits for every parameter, so leave out what has no part
    for name, parameter in plain.named_parameters():
        pair = ("image_tower.1.1", "text_tower", "logit_scale")
        unused = {
            "contrastive": ("head", "wide_head"), "masked": (*pair, "wide_head"),
            "both": ("wide_head", ), "wide": (*pair, "head")
        }[which]
        parameter.requires_grad_(not name.startswith(unused))
    wrapped = shard(plain, ranks) if sharded else wrap(plain, ranks)
    step = Step(wrapped, plain, Wiring.of("model", plain, plain.forward), None, [], terms(which),
                ranks, dict, Precision("fp32"), 0, micro_batches)
    whole = batch()
    mine = split(whole, ranks.world)[ranks.rank]
    losses, asked = step(split(mine, micro_batches // ranks.world), STEP, [1.0, float(ranks.rank)])
    assert asked == [ranks.world, sum(range(ranks.world))]
    step.statistics.commit()
    step.statistics.average(ranks)
    gradients = {name: getattr(value.grad, "full_tensor", lambda value=value: value.grad)()
                 for name, value in plain.named_parameters() if value.grad is not None}
    return {
        **gradients, **{
            f"loss {name}": torch.tensor(value, dtype=torch.float64) for name, value in losses.items(
            )
        }, **{f"buffer {name}": value.clone() for name, value in plain.named_buffers()}
    }


def main() -> None:
    torch.use_deterministic_algorithms(True)
    folder = Path(sys.argv[1])
    ranks = connect("ddp", "cpu")
    results = {}
    for which in ("contrastive", "masked", "both", "wide"):
        for norm, dropout in ((False, 0.0), (True, 0.0), (True, 0.3))[:1 if which == "wide" else 3]:
            for micro_batches in (1, 2, 4, 12):
                if micro_batches % ranks.world == 0:
                    results[which, norm, dropout,
                            micro_batches] = one_step(ranks, which, norm, dropout, micro_batches)
                    if ranks.world > 1:
                        results["fsdp", which, norm, dropout,
                                micro_batches] = one_step(ranks, which, norm, dropout,
                                                          micro_batches, sharded=True)
    if ranks.is_first:
        torch.save({str(key): value for key, value in results.items()},
                   folder / f"{ranks.world}.pt")
    disconnect()
