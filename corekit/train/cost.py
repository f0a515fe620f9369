"""What a step costs, found on meta tensors: arithmetic and memory, without a GPU and without
allocating anything.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from corekit.data.datasets.base import Source
from corekit.data.fields import find_fields
from corekit.data.loading.collate import example_batch
from corekit.distributed.activation_checkpointing import recompute_layers
from corekit.train.assemble import (
    build_model,
    build_preprocess,
    build_sampler,
    build_tokenizer,
    model_wiring,
)
from corekit.train.shapes import ShapesOnly
from corekit.train.verify import example_offers


@dataclass(frozen=True)
class Cost:
    """Parameters, FLOPs of one sample's forward pass, and the bytes that a step needs beside its
    batch.

    Where the size of images changes from step to step: FLOPs on average over the samples, bytes at
    the most. """

    parameters: int
    trained: int
    forward_flops: float
    weights: int  # bytes of parameters, gradients, two moments and the average
    activations: int  # bytes kept for the backward pass of one micro-batch


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the arithmetic of matrix products, convolutions and attention by torch's own
    formulas.

    torch's ``FlopCounterMode`` also says which module each was in; that takes longer than all the
    rest of a dry run. """

    flops = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        if operation._overloadpacket in flop_registry:
            self.flops += flop_registry[operation._overloadpacket](*args, **(kwargs or {}),
                                                                   out_val=result)
        return result


def measure(recipe: Mapping[str, Any], source: Source) -> Cost:
    """The cost of the recipe's model at its micro-batch."""
    model = build_model(recipe, torch.device("meta")).train()
    if recipe["engine"]["activation_checkpointing"]:
        recompute_layers(model)
    wiring = model_wiring(recipe, model)
    engine, tokenizer = recipe["engine"], build_tokenizer(recipe)
    micro_batch = int(engine["micro_batch"] or engine["batch_size"])
    # by storage, held so that no two storages get the same number
    kept: dict[int, tuple[Tensor, int]] = {}
    parameters = {value.untyped_storage()._cdata for value in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    preprocess, sampler = build_preprocess(recipe), build_sampler(recipe)
    table = getattr(sampler, "table", [(preprocess.size, len(sampler.draws(0)))])
    flops: dict[int, float] = {}  # of a sample, by image size
    activations = 0
    for size, of_stream in {table[0], table[len(table) // 2], table[-1]}:
        kept.clear()
        count = max(1, micro_batch * of_stream * recipe["data"]["streams"] // engine["batch_size"])
        batch = example_batch(find_fields(source.fields), replace(preprocess, size=size), tokenizer,
                              count)
        values = {**batch, **example_offers(recipe, count)}
        with (ShapesOnly(), _Counter() as counter,  # type: ignore[no-untyped-call]
              torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)):
            model(**wiring.pick(values))
        flops[size] = counter.flops / count
        activations = max(activations, sum(stored for _, stored in kept.values()))
    total = sum(value.numel() for value in model.parameters())
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    copies = 4 * total + 12 * trained + (4 *
                                         total if recipe["engine"]["ema_decay"] is not None else 0)
    if recipe["engine"]["precision"] == "bf16":
        activations //= 2  # an estimate: meta tensors are fp32, most of what autocast keeps is not
    mean = sum(of_stream * _at(size, flops)
               for size, of_stream in table) / sum(of_stream for _, of_stream in table)
    return Cost(total, trained, mean, copies, activations)


def _at(size: int, known: Mapping[int, float]) -> float:
    """FLOPs at a size from those at up to three: a parabola in the pixels, as attention is, and
    lines in it, as the rest.
    """
    return sum(flops * math.prod((size**2 - other**2) / (own**2 - other**2)
                                 for other in known if other != own)
               for own, flops in known.items())


def flops_per_sample(recipe: Mapping[str, Any], source: Source) -> float:
    """Of forward and backward: three times the forward pass."""
    return 3 * measure(recipe, source).forward_flops
