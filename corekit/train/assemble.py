"""From a checked recipe to the objects of a run: the one place below the commands that reads a
recipe.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from corekit import registry
from corekit.checkpoint.init_from import freeze, start_from, training_mode
from corekit.checkpoint.new_head import RANDOM, NewHead
from corekit.checkpoint.training_state import Checkpoints, complete_checkpoints
from corekit.data.datasets.base import Source
from corekit.data.loading.loader import Streams, share
from corekit.data.loading.shuffled_order import order_of
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.activation_checkpointing import has_statistics, recompute_layers
from corekit.distributed.fsdp import shard, whole
from corekit.distributed.process_group import ProcessGroup, wrap
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.optim.base import build_optimizer
from corekit.optim.ema import Ema
from corekit.optim.layer_decay import all_layers
from corekit.optim.loss_scale import Precision
from corekit.seeds import derive_seed
from corekit.train.accumulate import Step
from corekit.train.forward import Forward, StepRandom
from corekit.train.grad_cache import make_step
from corekit.train.loss_terms import WeightedLoss
from corekit.train.prepare import Frozen, Prepare, to_device
from corekit.train.wiring import Wiring

Recipe = Mapping[str, Any]


@dataclass(frozen=True)
class ScheduledEvaluator:
    """An evaluator of the recipe: its label, the object, and how often it runs (None: at the
    end).
    """

    label: str
    evaluator: Any
    every_steps: int | None

    def is_due(self, step: int, last: int) -> bool:
        return step == last or (self.every_steps is not None and step % self.every_steps == 0)


@dataclass
class Run:
    """Everything the training loop uses."""

    recipe: Recipe
    environment: Mapping[str, Any]
    ranks: ProcessGroup
    plain_model: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    ema: Ema | None
    precision: Precision
    step: Step
    streams: Streams
    preprocess: Preprocess
    checkpoints: Checkpoints
    evaluators: list[ScheduledEvaluator]
    new_head: NewHead | None = None
    refitted: Sequence[str] = ()  # lines about what the weights to start from were changed in

    @property
    def steps(self) -> int:
        return int(self.recipe["engine"]["steps"])

    @property
    def batch_size(self) -> int:
        return int(self.recipe["engine"]["batch_size"])

    @property
    def grad_clip(self) -> float | None:
        value: float | None = self.recipe["engine"]["grad_clip"]
        return value

    @property
    def workers(self) -> int:
        return int(self.recipe["data"]["workers"])

    @property
    def max_bad_fraction(self) -> float:
        return float(self.recipe["data"]["max_bad_fraction"])

    @property
    def log_every(self) -> int:
        return int(self.recipe["log"]["every_steps"])

    @property
    def keep_best(self) -> str | None:
        value: str | None = self.recipe["checkpoint"]["keep_best"]
        return value

    @property
    def save_every(self) -> int | None:
        value: int | None = self.recipe["checkpoint"]["every_steps"]
        return value

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        return float(self.recipe["optimizer"]["learning_rate"] * self.schedule(step))

    def average_statistics(self) -> None:
        """Make running statistics the same on all ranks."""
        self.step.statistics.average(self.ranks)
        if self.ema is not None:
            with self.ema.swapped():
                self.step.statistics.average(self.ranks)

    @contextlib.contextmanager
    def eval_model(self) -> Iterator[EvalModel]:
        """The model as it is evaluated: with the averaged weights where there are any, whole on
        every rank.
        """
        self.average_statistics()
        with self.ema.swapped() if self.ema else contextlib.nullcontext(), whole(self.plain_model):
            self.plain_model.eval()
            try:
                yield make_eval_model(self.plain_model, self.recipe, self.preprocess,
                                      self.streams.tokenizer, self.ranks)
            finally:
                training_mode(self.plain_model)


def make_eval_model(model: nn.Module, recipe: Recipe, preprocess: Preprocess, tokenizer: Any,
                    ranks: ProcessGroup) -> EvalModel:
    """A model ready to be evaluated as its recipe says."""
    precision = Precision(recipe["engine"]["precision"])
    return EvalModel(model, preprocess, tokenizer, ranks.device,
                     lambda: precision.autocast(ranks.device), ranks.rank, ranks.world, ranks.sum,
                     int(recipe["data"]["workers"]))


def arguments(node: Mapping[str, Any], *engine_keys: str) -> dict[str, Any]:
    """A node's arguments for its entry: all but its name and what the engine reads itself."""
    return {key: value for key, value in node.items() if key not in ("name", *engine_keys)}


def build_preprocess(recipe: Recipe) -> Preprocess:
    """The recipe's preprocessing."""
    return Preprocess(**recipe["data"]["preprocess"])


def build_tokenizer(recipe: Recipe) -> Any:
    """The recipe's tokenizer; None where it has none."""
    node = recipe["data"]["tokenizer"]
    return registry.build("tokenizer", node["name"], arguments(node)) if node else None


def build_model(recipe: Recipe, device: torch.device) -> nn.Module:
    """The recipe's model with random weights drawn by its seed, on a device."""
    node = recipe["model"]
    torch.manual_seed(derive_seed(int(recipe["seed"]), "weights"))
    with torch.device("meta") if device.type == "meta" else contextlib.nullcontext():
        model: nn.Module = registry.build("model", node["name"],
                                          arguments(node, "inputs", "outputs", "frozen"))
    freeze(model, node.get("frozen") or [])
    return model if device.type == "meta" else model.to(device)


def build_head(recipe: Recipe, source: Source) -> NewHead | None:
    """What makes the head's rows of those in ``init.path``; None where the recipe asks for nothing
    of that kind.
    """
    name, given = recipe["init"].get("head"), recipe["init"].get("head_arguments") or {}
    if name is None:
        return None
    return NewHead(None if name == RANDOM else registry.build("head", name, given),
                   getattr(source, "class_names", []))


def model_wiring(recipe: Recipe, module: nn.Module) -> Wiring:
    """How batch entries reach the model's ``forward``."""
    node = recipe["model"]
    return Wiring.of(f"model `{node['name']}`", module, module.forward, node.get("inputs"))


def build_terms(recipe: Recipe) -> list[WeightedLoss]:
    """The recipe's losses: one entry, or a mapping of label -> entry with a weight."""
    node = recipe["loss"]
    labelled = {node["name"]: node} if "name" in node else node
    return [WeightedLoss.of(registry.build("loss", each["name"], arguments(each, "inputs", "weight")),
                            label, float(each.get("weight", 1.0)), each["name"], each.get("inputs"))
            for label, each in labelled.items()]


def build_frozen(recipe: Recipe, device: torch.device) -> list[Frozen]:
    """The recipe's frozen modules."""
    found = []
    for label, node in (recipe.get("frozen") or {}).items():
        with torch.device("meta") if device.type == "meta" else contextlib.nullcontext():
            module = registry.build("model", node["name"],
                                    arguments(node, "inputs", "outputs", "frozen"),
                                    {"preprocess": build_preprocess(recipe)})
        module = (module
                  if device.type == "meta" else module.to(device)).requires_grad_(False).eval()
        wiring = Wiring.of(f"frozen model `{label}`", module, module.forward, node.get("inputs"))
        found.append(Frozen(label, wiring, node.get("outputs")))
    return found


def build_evaluator(node: Mapping[str, Any], preprocess: Preprocess) -> Any:
    """One of the recipe's evaluators."""
    return registry.build("evaluator", node["name"], arguments(node, "every_steps"),
                          {"preprocess": preprocess})


def build_transform(recipe: Recipe) -> Any:
    """The recipe's transform; the centre of the picture where it names none."""
    node = transform_node(recipe)
    return registry.build("transform", node["name"], arguments(node),
                          {"preprocess": build_preprocess(recipe)})


def transform_node(recipe: Recipe) -> Mapping[str, Any]:
    """What the recipe says of its transform."""
    return recipe["data"]["transform"] or {"name": "center_crop"}


def build_sampler(recipe: Recipe) -> Any:
    """The recipe's sampler."""
    node = recipe["sampler"]
    return registry.build(
        "sampler", node["name"], arguments(node), {
            "batch_size": recipe["engine"]["batch_size"], "streams": recipe["data"]["streams"],
            "seed": int(recipe["seed"]), "preprocess": build_preprocess(recipe)
        })


def micro_batches(recipe: Recipe, world: int) -> int:
    """How many micro-batches a step has; a CorekitError where sizes do not divide."""
    engine, data = recipe["engine"], recipe["data"]
    batch, micro = engine["batch_size"], engine["micro_batch"]
    if batch < 1 or micro < 1 or batch % micro:
        raise CorekitError(f"engine.micro_batch={micro} must divide engine.batch_size={batch}")
    count: int = batch // micro
    if count % world:
        raise CorekitError(f"{world} ranks cannot share the {count} micro-batches of a step "
                           f"(engine.batch_size={batch} / "
                           f"engine.micro_batch={micro}) equally: start a number of ranks that "
                           f"divides {count}")
    if data["streams"] % count:
        raise CorekitError(f"data.streams={data['streams']} must be a multiple of the {count} "
                           f"micro-batches of a step "
                           f"(engine.batch_size={batch} / engine.micro_batch={micro})")
    return count


def build_streams(recipe: Recipe, source: Source, tokenizer: Any, ranks: ProcessGroup) -> Streams:
    """What this rank reads."""
    data, seed = recipe["data"], int(recipe["seed"])
    order = order_of(source, data["streams"], data["window"], derive_seed(seed, "order"))
    mine = range(data["streams"])[share(data["streams"], ranks.rank, ranks.world)]
    return Streams(source, order, build_sampler(recipe), mine, seed, build_transform(recipe),
                   tokenizer)


def build_run(recipe: Recipe, source: Source, ranks: ProcessGroup, checkpoints: Checkpoints,
              environment: Mapping[str, Any]) -> Run:
    """Build everything a run needs.

    Raises:
        CorekitError: something the recipe asks for does not fit.
    """
    count = micro_batches(recipe, ranks.world)
    tokenizer, preprocess = build_tokenizer(recipe), build_preprocess(recipe)
    streams = build_streams(recipe, source, tokenizer, ranks)
    evaluators = [
        ScheduledEvaluator(label, build_evaluator(node, preprocess), node.get("every_steps"))
        for label, node in (recipe.get("evaluators") or {}).items()
    ]
    keep_best = recipe["checkpoint"]["keep_best"]
    labels = [evaluated.label for evaluated in evaluators]
    if keep_best and keep_best.rpartition("/")[0] not in labels:
        raise CorekitError(f"checkpoint.keep_best={keep_best} is no EVALUATOR/METRIC of this "
                           f"recipe: its evaluators are "
                           f"{', '.join(labels) or 'none'}")
    plain_model, new_head = build_model(recipe, ranks.device), build_head(recipe, source)
    refitted: list[str] = []
    if not complete_checkpoints(checkpoints.run):
        init = recipe["init"]
        refitted = start_from(plain_model, init["path"], init["exclude"], init["rename"], new_head)
    sharded = recipe["engine"]["parallel"] == "fsdp" and ranks.world > 1
    # FSDP2 takes contiguous weights only; the images tell the format
    if recipe["engine"]["channels_last"] and not sharded:
        plain_model = plain_model.to(
            memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe["engine"]["activation_checkpointing"]:
        if recipe["engine"]["compile"] and any(map(has_statistics, all_layers(plain_model))):
            raise CorekitError("engine.compile and engine.activation_checkpointing do not go "
                               "together for a model whose layers "
                               "have running statistics, such as batch norm's: leave one of them "
                               "out")
        recompute_layers(plain_model)
    if recipe["engine"]["compile"]:
        for module in all_layers(plain_model) if sharded else [plain_model]:
            module.compile()
    model = shard(plain_model, ranks) if sharded else wrap(plain_model, ranks)
    node = recipe["optimizer"]
    optimizer = build_optimizer(node["name"], arguments(node), plain_model)
    schedule = registry.build("schedule", recipe["schedule"]["name"], arguments(recipe["schedule"]),
                              {"steps": recipe["engine"]["steps"]})
    decay = recipe["engine"]["ema_decay"]
    ema = Ema(plain_model, decay) if decay is not None else None
    precision = Precision(recipe["engine"]["precision"])
    random = StepRandom(int(recipe["seed"]), ranks, count)
    forward = Forward(model, plain_model, model_wiring(recipe, plain_model),
                      recipe["model"].get("outputs"), precision, random)
    prepare = Prepare(
        lambda batch: to_device(batch, preprocess, ranks.device, recipe["engine"]["channels_last"]),
        build_frozen(recipe, ranks.device), lambda: precision.autocast(ranks.device))
    step = make_step(forward, build_terms(recipe), prepare, recipe["engine"]["steps"])
    return Run(recipe, environment, ranks, plain_model, model, optimizer, schedule, ema, precision,
               step, streams, preprocess, checkpoints, evaluators, new_head, refitted)
