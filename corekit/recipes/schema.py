"""The typed recipe: the sections of one run, each for the part of corekit that takes it.

``corekit.recipes.build`` makes these of what a user wrote, ``hydra_schema`` derives from them what
the command line is checked against.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from corekit import registry
from corekit.recipes.ranges import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, Range

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the red, green and blue of CLIP's images
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Plain = dict[str, Any]  # what YAML holds: strings, numbers, lists and mappings of them
Node = Mapping[str, Any]  # the same, to read

Precision = Literal["fp32", "bf16", "fp16"]  # of the forward pass; parameters and losses are fp32
Parallel = Literal["none", "ddp", "fsdp"]  # how several processes share a training step
DeviceName = Literal["auto", "cpu", "cuda", "mps"]  # auto takes CUDA, then MPS, then the CPU
NonFinite = Literal["raise", "skip"]  # what a loss or gradient that is not finite does
Interpolation = Literal["bilinear", "bicubic"]
# the side that gets the new length, or both, as they are or padded to a square first
ResizeMode = Literal["shortest", "squash", "longest", "pad"]
CropRounding = Literal["even", "down"]  # of half a pixel: as torchvision does, as transformers does


@dataclass(frozen=True)
class EntryConfig:
    """A registered entry that the recipe picks by name, and the arguments of its constructor."""

    name: str
    arguments: Node = field(default_factory=dict)

    PLACE: ClassVar[tuple[str, ...]] = ("name", "arguments", "label", "key")  # fields, not keys

    @classmethod
    def wiring_keys(cls) -> tuple[str, ...]:
        """The keys beside the arguments that are the engine's own."""
        return tuple(item.name for item in fields(cls) if item.name not in cls.PLACE)

    def build(self, kind: str, **supplied: object) -> Any:
        """The entry itself; its constructor gets what it asks for of ``supplied``."""
        return registry.build(kind, self.name, self.arguments, supplied)

    def inner(self, argument: str) -> "EntryConfig | None":
        """The entry that an argument names; None where it is no entry."""
        node = self.arguments.get(argument)
        if not isinstance(node, Mapping) or "name" not in node:
            return None
        return EntryConfig(str(node["name"]),
                           {key: value for key, value in node.items() if key != "name"})

    def to_plain(self) -> Plain:
        """The entry as a recipe writes it."""
        wiring = {key: value for key in self.wiring_keys()
                  if (value := getattr(self, key)) is not None}
        return {"name": self.name, **self.arguments, **wiring}


@dataclass(frozen=True)
class ModelConfig(EntryConfig):
    """A model, how batch entries reach its ``forward``, and which parameters stay as they are."""

    inputs: Mapping[str, str] | None = None  # parameter of forward -> batch entry
    outputs: Mapping[str, str] | str | None = None  # corekit's names for what it gives
    frozen: list[str] | None = None  # patterns of parameters that are not trained


@dataclass(frozen=True)
class LossConfig(EntryConfig):
    """A loss of the recipe, alone (``key`` is ``loss``) or one of several, ``loss.LABEL``."""

    label: str = ""
    key: str = "loss"
    inputs: Mapping[str, str] | None = None  # parameter -> output or batch entry
    weight: float | None = None  # None: 1


@dataclass(frozen=True)
class EvaluatorConfig(EntryConfig):
    """An evaluator, how often it runs, and how many samples it may lose."""

    label: str = ""
    every_steps: Annotated[int | None, COUNT] = None  # None: at the end of training
    # of its samples, how many may be unreadable; None: 0.01
    max_bad_fraction: Annotated[float | None, Range(0, 1, null="0.01")] = None


@dataclass(frozen=True)
class PreprocessConfig:
    """What turns a picture into the model's input: saved with the weights, used by evaluations."""

    size: Annotated[int, COUNT] = 224  # pixels of the square the model sees
    interpolation: Interpolation = "bicubic"
    mean: list[float] = field(default_factory=lambda: list(CLIP_MEAN))
    std: list[float] = field(default_factory=lambda: list(CLIP_STD))
    # size / side of the resized picture that it is cut from
    crop_fraction: Annotated[float, POSITIVE] = 1.0
    resize: ResizeMode = "shortest"
    fill: Annotated[int, Range(0, 255)] = 0  # level of what lies beside a picture that is padded
    crop_rounding: CropRounding = "even"
    # most tiles of a picture that stands in a conversation, beside the whole of it
    tiles: Annotated[int, Range(1, 100)] = 1


@dataclass(frozen=True)
class DataConfig:
    """The data set, and how it is read."""

    root: str | None = None  # folder of the data set; never written in a recipe
    # data processes a rank; 0: the training process itself
    workers: Annotated[int, NOT_NEGATIVE] = 4
    # of all samples drawn, how many may be undecodable
    max_bad_fraction: Annotated[float, FRACTION] = 0.001
    # stretches of the data that are read side by side; at least ranks x workers
    streams: Annotated[int, COUNT] = 64
    # samples that one read takes and that are shuffled together
    window: Annotated[int, COUNT] = 64
    dataset: EntryConfig | None = None
    transform: EntryConfig | None = None  # None: center_crop
    tokenizer: EntryConfig | None = None
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)


@dataclass(frozen=True)
class EngineConfig:
    """The training loop."""

    steps: Annotated[int, COUNT] = 1000
    batch_size: Annotated[int, COUNT] = 256  # samples of one optimizer step, over all ranks
    # samples of a forward; None: batch_size / ranks, then kept
    micro_batch: Annotated[int | None, COUNT] = None
    precision: Precision = "fp32"
    parallel: Parallel = "ddp"
    device: DeviceName = "auto"
    deterministic: bool | None = None  # None: on a CPU yes, elsewhere no
    channels_last: bool = False  # memory layout of images and convolutions
    # of the averaged weights that are evaluated and saved
    ema_decay: Annotated[float | None, Range(0, 1, null="without averaging")] = None
    # largest L2 norm of the whole gradient
    grad_clip: Annotated[float | None, POSITIVE] = None
    compile: bool = False  # torch.compile: the model, or with fsdp each of its layers
    activation_checkpointing: bool = False  # layers run again in the backward pass: less memory
    non_finite: NonFinite = "raise"  # stop, or skip the step's update
    max_skipped: Annotated[int, NOT_NEGATIVE] = 100  # steps that non_finite=skip may skip in a run


@dataclass(frozen=True)
class InitPartConfig:
    """Weights to start from, of one place."""

    # a run, a model folder, a .safetensors file, or a folder of transformers
    path: str | None = None
    exclude: list[str] = field(default_factory=list)  # names left at random, or in the file only
    rename: dict[str, str] = field(default_factory=dict)  # beginning in the file -> in the model


@dataclass(frozen=True)
class InitConfig(InitPartConfig):
    """Where the weights start: all of them in one place, or each part in a place of its own."""

    # a submodule of the model -> its weights, as in init.parts.encoder.path=RUN
    parts: dict[str, InitPartConfig] = field(default_factory=dict)
    head: str | None = None  # makes a head for other classes; `random`; None: as it is in the file
    head_arguments: Plain = field(default_factory=dict)  # of the entry of kind head

    def places(self) -> dict[str, str]:
        """The places of weights to start from, by their keys in the recipe."""
        of_parts = {f"init.parts.{name}.path": part.path for name, part in self.parts.items()}
        return {key: path for key, path in {"init.path": self.path, **of_parts}.items() if path}


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, and how many are kept."""

    # None: not by steps; the last step always has one
    every_steps: Annotated[int | None, COUNT] = 1000
    # by the first rank's clock, beside those by steps
    every_minutes: Annotated[float | None, POSITIVE] = None
    keep_last: Annotated[int, COUNT] = 2
    keep_best: str | None = None  # EVALUATOR/METRIC, as in zero_shot/top1: the best is kept too
    background: bool = True  # written while training goes on


@dataclass(frozen=True)
class LogConfig:
    """How often metrics are written."""

    every_steps: Annotated[int, COUNT] = 10


@dataclass(frozen=True)
class RunConfig:
    """The whole recipe of a training run."""

    model: ModelConfig
    loss: tuple[LossConfig, ...] = ()
    frozen: Mapping[str, ModelConfig] = field(default_factory=dict)  # its outputs go to the losses
    data: DataConfig = field(default_factory=DataConfig)
    sampler: EntryConfig | None = None
    optimizer: EntryConfig | None = None
    schedule: EntryConfig | None = None
    engine: EngineConfig = field(default_factory=EngineConfig)
    evaluators: tuple[EvaluatorConfig, ...] = ()
    init: InitConfig = field(default_factory=InitConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    seed: int = 0
    run_dir: str | None = None  # None: runs/<recipe>
    dry_run: bool = False

    def to_plain(self) -> Plain:
        """The recipe as ``recipe.yaml`` keeps it."""
        from corekit.recipes.build import to_plain

        return to_plain(self)


@dataclass(frozen=True)
class EvaluationConfig:
    """An evaluation: a run or model folder, and sections of its recipe."""

    checkpoint: str | None = None  # a run directory, a checkpoint or a model folder
    model: ModelConfig = field(kw_only=True)
    data: DataConfig = field(default_factory=DataConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    evaluators: tuple[EvaluatorConfig, ...] = ()
    seed: int = 0
    sets: list[str] = field(default_factory=list)  # of a suite, by pattern; none: all
    # rows beside a suite's figures, such as mobileclip/mobileclip_s0
    published: list[str] = field(default_factory=list)
    # the folder where suites and evaluators that generate keep what they need to go on, and others
    # keep features; None: the former's lies beside evaluations.jsonl
    store: str | None = None
