"""From parts on the meta device to a run that trains: weights, optimizer, ranks and evaluators."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from corekit.checkpoint.initial.init_from import start_from, start_parts
from corekit.checkpoint.initial.new_head import NewHead
from corekit.checkpoint.training_state import Checkpoints, Environment
from corekit.data.loading.collate import to_device
from corekit.data.loading.loader import Streams, share
from corekit.data.loading.shuffled_order import ORDER, order_of
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.fsdp import shard, whole
from corekit.distributed.process_group import ProcessGroup, wrap
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Evaluator
from corekit.evaluation.run import make_eval_model
from corekit.models.build import build_model
from corekit.models.freeze import training_mode
from corekit.models.layer_list import all_layers
from corekit.optim.base import Schedule, build_optimizer
from corekit.optim.ema import Ema
from corekit.optim.loss_scale import Precision
from corekit.recipes.schema import EvaluatorConfig, RunConfig
from corekit.seeds import derive_seed
from corekit.train.assemble import Parts, build_frozen, recompute
from corekit.train.step.accumulate import Step
from corekit.train.step.forward import Forward, StepRandom
from corekit.train.step.grad_cache import make_step
from corekit.train.step.prepare import Prepare


@dataclass(frozen=True)
class ScheduledEvaluator:
    """An evaluator of the recipe, and how often it runs; None: at the end."""

    config: EvaluatorConfig
    evaluator: Evaluator

    @property
    def label(self) -> str:
        return self.config.label

    def is_due(self, step: int, last: int) -> bool:
        every_steps = self.config.every_steps
        return step == last or (every_steps is not None and step % every_steps == 0)


@runtime_checkable
class AfterStep(Protocol):
    """A module that does something after each update of its parameters, as to bound one of them."""

    def after_step(self) -> None: ...


@dataclass
class Run:
    """Everything the training loop uses."""

    config: RunConfig
    environment: Environment
    ranks: ProcessGroup
    plain_model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Ema | None
    precision: Precision
    step: Step
    streams: Streams
    preprocess: Preprocess
    checkpoints: Checkpoints
    evaluators: list[ScheduledEvaluator]
    new_head: NewHead | None = None
    refitted: Sequence[str] = ()  # lines about what the weights to start from were changed in
    peak_learning_rate: float = 0.0

    @cached_property
    def after_step(self) -> list[AfterStep]:
        """The modules to call after each update."""
        return [each for each in self.plain_model.modules() if isinstance(each, AfterStep)]

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        return float(self.peak_learning_rate * self.schedule(step))

    def average_statistics(self) -> None:
        """Make running statistics the same on all ranks."""
        self.step.statistics.average(self.ranks)
        if self.ema is not None:
            with self.ema.swapped():
                self.step.statistics.average(self.ranks)

    @contextlib.contextmanager
    def eval_model(self) -> Iterator[EvalModel]:
        """The model as it is evaluated: with averaged weights if any, whole on every rank."""
        self.average_statistics()
        with self.ema.swapped() if self.ema else contextlib.nullcontext(), whole(self.plain_model):
            self.plain_model.eval()
            try:
                yield make_eval_model(self.plain_model, self.config, self.preprocess,
                                      self.streams.tokenizer, self.ranks)
            finally:
                training_mode(self.plain_model)


def materialise(parts: Parts, ranks: ProcessGroup, checkpoints: Checkpoints,
                environment: Environment, begins: bool) -> Run:
    """Give the parts weights and everything else a run needs.

    Models are constructed once more, on the device: their initial values are drawn there. A run
    that begins takes the weights of ``init``; one that goes on loads its checkpoint.
    """
    config, engine, preprocess = parts.config, parts.config.engine, parts.preprocess
    assert config.optimizer is not None
    assert parts.schedule is not None
    evaluators = build_evaluators(config, preprocess)
    plain_model = build_model(config.model, config.seed, ranks.device)
    refitted: list[str] = []
    if begins:
        init = config.init
        refitted = start_from(plain_model, init.path, init.exclude, init.rename, parts.new_head)
        refitted += start_parts(plain_model, init.parts)
    model = _on_ranks(plain_model, parts, ranks)
    optimizer = build_optimizer(config.optimizer.name, config.optimizer.arguments, plain_model)
    ema = Ema(plain_model, engine.ema_decay) if engine.ema_decay is not None else None
    precision = Precision(engine.precision)
    random = StepRandom(config.seed, ranks, parts.micro_batches)
    wiring = replace(parts.wiring, function=plain_model)
    forward = Forward(model, plain_model, wiring, config.model.outputs, precision, random)
    place = partial(to_device, fields=parts.fields, preprocess=preprocess, device=ranks.device,
                    channels_last=engine.channels_last)
    frozen = build_frozen(config.frozen, preprocess, ranks.device)
    prepare = Prepare(place, frozen, partial(precision.autocast, ranks.device))
    step = make_step(forward, parts.losses, prepare, engine.steps)
    streams = _streams(parts, ranks, environment)
    return Run(config, environment, ranks, plain_model, optimizer, parts.schedule, ema, precision,
               step, streams, preprocess, checkpoints, evaluators, parts.new_head, refitted,
               float(config.optimizer.arguments["learning_rate"]))


def build_evaluators(config: RunConfig, preprocess: Preprocess) -> list[ScheduledEvaluator]:
    """The recipe's evaluators; a CorekitError where ``keep_best`` names none of them."""
    evaluators = [ScheduledEvaluator(each, each.build("evaluator", preprocess=preprocess))
                  for each in config.evaluators]
    keep_best, labels = config.checkpoint.keep_best, [each.label for each in evaluators]
    if keep_best and keep_best.rpartition("/")[0] not in labels:
        raise CorekitError(f"checkpoint.keep_best={keep_best} is no EVALUATOR/METRIC of this "
                           f"recipe: its evaluators are {', '.join(labels) or 'none'}")
    return evaluators


def _on_ranks(plain_model: nn.Module, parts: Parts, ranks: ProcessGroup) -> nn.Module:
    """The model in its memory format, compiled, and wrapped for several ranks."""
    engine = parts.config.engine
    sharded = engine.parallel == "fsdp" and ranks.world > 1
    # FSDP2 takes contiguous weights only; the images tell the format
    if engine.channels_last and not sharded:
        plain_model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recompute(plain_model, engine)
    if engine.compile:
        for module in all_layers(plain_model) if sharded else [plain_model]:
            module.compile()
    return shard(plain_model, ranks) if sharded else wrap(plain_model, ranks)


def _streams(parts: Parts, ranks: ProcessGroup, environment: Environment) -> Streams:
    """What this rank reads."""
    data, seed = parts.config.data, parts.config.seed
    version = environment.get("order", ORDER)
    assert isinstance(version, int)
    order = order_of(parts.source, data.streams, data.window, derive_seed(seed, "order"), version)
    mine = range(data.streams)[share(data.streams, ranks.rank, ranks.world)]
    return Streams(parts.source, order, parts.sampler, mine, seed, parts.transform, parts.tokenizer)
