"""Run by test_detector_on_ranks.py on one rank of several: a step's losses and gradients of a small
detector on pictures of different sizes, saved to a file.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from corekit.data.fields import find_fields
from corekit.data.loading.collate import split
from corekit.distributed.fsdp import full, shard
from corekit.distributed.process_group import ProcessGroup, connect, disconnect, wrap
from corekit.losses.mask_rcnn import MaskRCNNLoss
from corekit.train.step.loss_terms import WeightedLoss
from tests.models.dense.scenes import batch, catlip
from tests.train.step.steps import step_of

FIELDS = find_fields(["image", "boxes", "box_labels", "masks"])
MICRO_BATCHES = 2
STEP = 3


def one_step(group: ProcessGroup, sharded: bool) -> dict[str, Tensor]:
    """Of four pictures in two micro-batches; one picture of the second has no object."""
    plain = catlip()
    wrapped = shard(plain, group) if sharded else wrap(plain, group)
    loss = WeightedLoss.of(MaskRCNNLoss(), "mask_rcnn")
    step = step_of(plain, [loss], MICRO_BATCHES, group, wrapped)
    entries = batch([(64, 64), (64, 40), (32, 64), (48, 48)], [2, 1, 0, 3])
    own = split(split(entries, group.world, FIELDS)[group.rank], MICRO_BATCHES // group.world,
                FIELDS)
    figures, _ = step(own, STEP)
    gradients = {name: full(value.grad) for name, value in plain.named_parameters()
                 if value.grad is not None}
    return {**gradients, **{f"loss {name}": torch.tensor(value) for name, value in figures.items()}}


def main() -> None:
    group = connect("ddp", "cpu")
    results = {"ddp": one_step(group, sharded=False)}
    if group.world > 1:
        results["fsdp"] = one_step(group, sharded=True)
    if group.is_first:
        torch.save(results, Path(sys.argv[1]) / f"{group.world}.pt")
    disconnect()
