"""The parts of a run, built once from the recipe, for a dry run as for training.

Models are built on the meta device; ``materialise`` puts models with weights in their place.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from corekit import registry
from corekit.checkpoint.initial.new_head import RANDOM, NewHead
from corekit.data.datasets.base import Source, dataset_info
from corekit.data.fields import Field, find_fields
from corekit.data.loading.loader import Sampler, SizedSampler
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.activation_checkpointing import has_statistics, recompute_layers
from corekit.errors import CorekitError
from corekit.models.build import build_model
from corekit.models.layer_list import all_layers
from corekit.optim.base import Schedule
from corekit.recipes.schema import EngineConfig, EntryConfig, ModelConfig, RunConfig
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.step.prepare import Frozen
from corekit.wiring import Wiring, model_wiring

META = torch.device("meta")
CENTER_CROP = EntryConfig("center_crop")  # where a recipe names no transform


@dataclass(frozen=True)
class Parts:
    """Everything that a recipe names but its evaluators, which open data of their own.

    ``micro_batches`` are those of a step, over all ranks; models are on the meta device.
    """

    config: RunConfig
    source: Source
    fields: Mapping[str, Field]
    micro_batches: int
    preprocess: Preprocess
    tokenizer: Tokenizer | None
    transform: Callable[..., object]
    sampler: Sampler
    model: nn.Module
    wiring: Wiring[object]
    frozen: list[Frozen]
    losses: list[WeightedLoss]
    schedule: Schedule | None
    new_head: NewHead | None

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(pixels of a side, samples of a stream), smallest first; empty for one size."""
        return self.sampler.table if isinstance(self.sampler, SizedSampler) else []


def assemble(config: RunConfig, source: Source, world: int = 1) -> Parts:
    """Build every part of a run whose recipe has its ``engine.micro_batch``.

    Raises:
        CorekitError: a part does not take its arguments, or sizes do not divide.
    """
    data, engine, init = config.data, config.engine, config.init
    preprocess = Preprocess(**vars(data.preprocess))
    model = build_model(config.model, config.seed, META)
    recompute(model, engine)
    fields, count = find_fields(source.fields), micro_batches(engine, data.streams, world)
    tokenizer = data.tokenizer.build("tokenizer") if data.tokenizer else None
    transform = (data.transform or CENTER_CROP).build("transform", preprocess=preprocess)
    sampler, wiring = build_sampler(config, preprocess), model_wiring(config.model, model)
    frozen = build_frozen(config.frozen, preprocess, META)
    weights = [1.0 if loss.weight is None else float(loss.weight) for loss in config.loss]
    losses = [WeightedLoss.of(loss.build("loss"), loss.label, weight, loss.name, loss.inputs)
              for loss, weight in zip(config.loss, weights, strict=True)]
    schedule = config.schedule.build("schedule", steps=engine.steps) if config.schedule else None
    new_head = None
    if init.head is not None:
        matcher = (None if init.head == RANDOM
                   else registry.build("head", init.head, init.head_arguments))
        new_head = NewHead(matcher, dataset_info(source).class_names)
    return Parts(config, source, fields, count, preprocess, tokenizer, transform, sampler, model,
                 wiring, frozen, losses, schedule, new_head)


def micro_batches(engine: EngineConfig, streams: int, world: int) -> int:
    """How many micro-batches a step has; a CorekitError where sizes do not divide."""
    batch, micro = engine.batch_size, engine.micro_batch
    if micro is None or batch < 1 or micro < 1 or batch % micro:
        raise CorekitError(f"engine.micro_batch={micro} must divide engine.batch_size={batch}")
    count = batch // micro
    sizes = f"(engine.batch_size={batch} / engine.micro_batch={micro})"
    if count % world:
        raise CorekitError(f"{world} ranks cannot share the {count} micro-batches of a step "
                           f"{sizes} equally: start a number of ranks that divides {count}")
    if streams % count:
        raise CorekitError(f"data.streams={streams} must be a multiple of the {count} "
                           f"micro-batches of a step {sizes}")
    return count


def recompute(model: nn.Module, engine: EngineConfig) -> None:
    """Let layers run again in the backward pass, where the recipe says so."""
    if not engine.activation_checkpointing:
        return
    if engine.compile and any(map(has_statistics, all_layers(model))):
        raise CorekitError("engine.compile and engine.activation_checkpointing do not go together "
                           "for a model whose layers have running statistics, such as batch "
                           "norm's: leave one of them out")
    recompute_layers(model)


def build_sampler(config: RunConfig, preprocess: Preprocess) -> Sampler:
    """The recipe's sampler."""
    assert config.sampler is not None
    sampler: Sampler = config.sampler.build("sampler", batch_size=config.engine.batch_size,
                                            streams=config.data.streams, seed=config.seed,
                                            preprocess=preprocess)
    return sampler


def build_frozen(models: Mapping[str, ModelConfig], preprocess: Preprocess,
                 device: torch.device) -> list[Frozen]:
    """The recipe's frozen modules."""
    frozen = []
    for label, config in models.items():
        with torch.device("meta") if device.type == "meta" else contextlib.nullcontext():
            module: nn.Module = config.build("model", preprocess=preprocess)
        module = module if device.type == "meta" else module.to(device)
        module.requires_grad_(False).eval()
        wiring = Wiring.of(f"frozen model `{label}`", module, module.forward, config.inputs)
        frozen.append(Frozen(label, wiring, config.outputs))
    return frozen
