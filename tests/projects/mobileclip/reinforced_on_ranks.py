"""Run by test_reinforced_loss.py on one rank of several: one step's loss and its grads at given
features, saved to a file.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from corekit_projects.mobileclip.losses import ReinforcedContrastive
from torch import Tensor, nn

from corekit.data.loading.loader import split
from corekit.distributed.process_group import ProcessGroup, connect, disconnect, wrap
from corekit.train.step.loss_terms import WeightedLoss
from tests.train.step.steps import step_of

SAMPLES, WIDTH, TEACHERS, SCALES = 48, 16, [24, 12], [100.0, 60.0]
WEIGHTS = {"contrastive_weight": 0.25, "distillation_weight": 0.75}


def unit(generator: torch.Generator, width: int, like: Tensor | None = None) -> Tensor:
    """Unit-norm float64 features; near ``like``, as those of a pair are."""
    noise = torch.randn(SAMPLES, width, generator=generator, dtype=torch.float64)
    return F.normalize(noise if like is None else like + noise * 0.7 * width ** -0.5, dim=1)


def features() -> dict[str, Tensor]:
    """What the student and the teachers say of one batch, float64."""
    generator = torch.Generator().manual_seed(7)
    image = unit(generator, WIDTH)
    entries = {
        "image": image, "text": unit(generator, WIDTH, image),
        "synthetic_text": unit(generator, WIDTH, image)
    }
    teachers = [unit(generator, width) for width in TEACHERS]
    entries["teacher_image_features"] = torch.cat(teachers, 1)
    for name in ("teacher_text_features", "teacher_synthetic_text_features"):
        entries[name] = torch.cat(
            [unit(generator, width, image) for width, image in zip(TEACHERS, teachers)], 1)
    return entries


class Given(nn.Module):
    """A model whose features are its parameters, so that their gradients are the loss's grads at
    the features.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({
            name: nn.Embedding.from_pretrained(value.to(dtype), freeze=False)
            for name, value in features().items() if not name.startswith("teacher")
        })
        self.scale = nn.Parameter(torch.tensor(50.0, dtype=dtype))

    def forward(self, image: Tensor, text: Tensor,
                synthetic_text: Tensor | None = None) -> dict[str, Tensor]:
        outputs = {
            "image_features": self.tables["image"](image),
            "text_features": self.tables["text"](text), "logit_scale": self.scale * 1
        }
        if synthetic_text is not None:
            outputs["synthetic_text_features"] = self.tables["synthetic_text"](synthetic_text)
        return outputs


def one_step(ranks: ProcessGroup, dtype: torch.dtype, micro_batches: int) -> dict[str, Tensor]:
    plain = Given(dtype)
    loss = ReinforcedContrastive(TEACHERS, SCALES, block=7, **WEIGHTS)
    losses = [WeightedLoss.of(loss, "reinforced_contrastive")]
    step = step_of(plain, losses, micro_batches, ranks, wrap(plain, ranks))
    teachers = {
        name: value.to(dtype) for name, value in features().items() if name.startswith("teacher")
    }
    numbers = torch.arange(SAMPLES)
    whole = {"key": list(range(SAMPLES)), "image": numbers, "text": numbers,
             "synthetic_text": numbers, **teachers}
    share = SAMPLES // ranks.world
    mine = {
        name: value[ranks.rank * share:(ranks.rank + 1) * share] for name, value in whole.items()
    }
    figures, _ = step(split(mine, micro_batches // ranks.world, {}), 0)
    return {**{name: value.grad for name, value in plain.named_parameters()},
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()}}


def all_steps(ranks: ProcessGroup) -> dict[str, dict[str, Tensor]]:
    return {
        str((dtype, micro_batches)): one_step(ranks, dtype, micro_batches)
        for dtype in (torch.float64, torch.float32) for micro_batches in (4, 12)
        if micro_batches % ranks.world == 0
    }


def main() -> None:
    torch.use_deterministic_algorithms(True)
    ranks = connect("ddp", "cpu")
    results = all_steps(ranks)
    if ranks.is_first:
        torch.save(results, Path(sys.argv[1]) / f"{ranks.world}.pt")
    disconnect()
