"""What a step costs in arithmetic and memory, counted on meta tensors: nothing is allocated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from corekit.data.loading.collate import example_batch
from corekit.models.shapes import ShapesOnly
from corekit.train.assemble import Parts
from corekit.train.verify import example_offers


@dataclass(frozen=True)
class Cost:
    """Parameters, FLOPs of a sample's forward pass, and the bytes of a step beside its batch.

    Where the size of images changes, FLOPs are the mean over samples and bytes the most.
    """

    parameters: int
    trained: int
    forward_flops: float
    weights: int  # bytes of parameters, gradients, two moments and the average
    activations: int  # bytes kept for the backward pass of one micro-batch


def cost(parts: Parts) -> Cost:
    """The cost of the recipe's model at its micro-batch."""
    config, engine, model = parts.config, parts.config.engine, parts.model.train()
    table = parts.sizes or [(parts.preprocess.size, len(parts.sampler.draws(0)))]
    flops: dict[int, float] = {}  # of a sample, by image size
    activations = 0
    for size, of_stream in {table[0], table[len(table) // 2], table[-1]}:
        samples = of_stream * config.data.streams // parts.micro_batches
        flops[size], stored_bytes = _forward(parts, size, max(1, samples))
        activations = max(activations, stored_bytes)
    total = sum(value.numel() for value in model.parameters())
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    weights = 4 * total + 12 * trained + (4 * total if engine.ema_decay is not None else 0)
    if engine.precision == "bf16":
        activations //= 2  # an estimate: meta tensors are fp32, most of what autocast keeps is not
    of_all = sum(of_stream * _interpolated(size, flops) for size, of_stream in table)
    mean = of_all / sum(of_stream for _, of_stream in table)
    return Cost(total, trained, mean, weights, activations)


def _forward(parts: Parts, size: int, samples: int) -> tuple[float, int]:
    """FLOPs of a sample's forward pass, and the bytes that a batch keeps for the backward pass."""
    # by storage, held so that no two storages get the same number
    stored_tensors: dict[int, tuple[Tensor, int]] = {}
    parameters = {value.untyped_storage()._cdata for value in parts.model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            stored_tensors[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    preprocess = replace(parts.preprocess, size=size)
    batch = example_batch(parts.fields, preprocess, parts.tokenizer, samples)
    values = {**batch, **example_offers(parts.config.engine.steps, samples)}
    counter = FlopCounterMode(display=False)
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with ShapesOnly(), counter, hooks:
        parts.model(**parts.wiring.pick(values))
    return counter.get_total_flops() / samples, sum(stored for _, stored in stored_tensors.values())


def _interpolated(size: int, known: Mapping[int, float]) -> float:
    """FLOPs at a size, by the parabola in the number of pixels through up to three known ones."""
    return sum(flops * math.prod((size**2 - other**2) / (own**2 - other**2) for other in known
                                 if other != own) for own, flops in known.items())
