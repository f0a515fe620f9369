"""Plain recipes, as tests change them, through the functions that take typed ones."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from corekit.cli.train import open_source
from corekit.data.datasets.base import Source
from corekit.data.loading.loader import Sampler
from corekit.data.transforms.preprocess import Preprocess
from corekit.models.build import build_model
from corekit.recipes.build import run_config
from corekit.recipes.compose import compose as compose_typed
from corekit.train import dry_run as dry
from corekit.train.assemble import Parts, assemble, build_sampler
from corekit.train.cost import Cost, cost
from corekit.train.run import run
from corekit.train.verify import verify

Recipe = Mapping[str, Any]


def compose(*words: str) -> dict[str, Any]:
    return compose_typed(*words).to_plain()


def train(recipe: Recipe) -> None:
    config = run_config(recipe)
    run(config, open_source(config))


def dry_run(recipe: Recipe, source: Source | None = None) -> None:
    config = run_config(recipe)
    dry.dry_run(config, source or open_source(config))


def parts(recipe: Recipe, source: Source | None = None) -> Parts:
    """The parts at a micro-batch of the whole batch where the recipe names none."""
    config = run_config(recipe)
    engine = config.engine
    engine = replace(engine, micro_batch=engine.micro_batch or engine.batch_size)
    return assemble(replace(config, engine=engine), source or open_source(config))


def verified(recipe: Recipe, source: Source, tokenizer: Any = None) -> list[str]:
    """What the check of the wiring says with this tokenizer, whatever the recipe's is."""
    return verify(replace(parts(recipe, source), tokenizer=tokenizer))


def cost_of(recipe: Recipe, source: Source | None = None) -> Cost:
    return cost(parts(recipe, source))


def model_of(recipe: Recipe, device: str = "meta") -> nn.Module:
    config = run_config(recipe)
    return build_model(config.model, config.seed, torch.device(device))


def preprocess_of(recipe: Recipe) -> Preprocess:
    return Preprocess(**vars(run_config(recipe).data.preprocess))


def sampler_of(recipe: Recipe) -> Sampler:
    config = run_config(recipe)
    return build_sampler(config, Preprocess(**vars(config.data.preprocess)))
