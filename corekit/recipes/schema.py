"""The typed schema of a recipe: fixed sections are closed, sections filled by registry entries are free.

Composition (Hydra, OmegaConf) checks keys and types against these classes; what a free section holds is checked
against the signature of the entry it names.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Optional  # noqa: UP035 (OmegaConf 2.3 reads these at run time)

from omegaconf import DictConfig, OmegaConf

from corekit.constants import CLIP_MEAN, CLIP_STD

Free = Dict[str, Any]  # noqa: UP006


class Precision(Enum):
    """Arithmetic of the forward pass; parameters and losses are fp32 in all."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Parallel(Enum):
    """How several processes share a training step."""

    none = "none"
    ddp = "ddp"
    fsdp = "fsdp"


NonFinite = Enum("NonFinite", {"raise": "raise", "skip": "skip"})  # what a loss or gradient that is not finite does


class Device(Enum):
    """Where the model runs; auto takes CUDA, then MPS, then the CPU."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Interpolation(Enum):
    bilinear = "bilinear"
    bicubic = "bicubic"


@dataclass
class PreprocessSection:
    """What turns a picture into the model's input: saved with the weights, used by every evaluation."""

    size: int = 224  # pixels of the square the model sees
    interpolation: Interpolation = Interpolation.bicubic
    mean: List[float] = field(default_factory=lambda: list(CLIP_MEAN))  # noqa: UP006
    std: List[float] = field(default_factory=lambda: list(CLIP_STD))  # noqa: UP006
    crop_fraction: float = 1.0  # size / shorter side of the resized picture that it is cut from


@dataclass
class DataSection:
    root: Optional[str] = None  # folder of the data set; never written in a recipe  # noqa: UP045
    workers: int = 4  # data processes a rank; 0: the training process itself
    max_bad_fraction: float = 0.001  # of all samples drawn, how many may be undecodable
    streams: int = 64  # stretches of the data that are read side by side; at least ranks x workers
    window: int = 64  # samples that one read takes and that are shuffled together
    dataset: Free = field(default_factory=dict)
    transform: Free = field(default_factory=dict)
    tokenizer: Free = field(default_factory=dict)
    preprocess: PreprocessSection = field(default_factory=PreprocessSection)


@dataclass
class EngineSection:
    steps: int = 1000
    batch_size: int = 256  # samples of one optimizer step, over all ranks
    micro_batch: Optional[int] = None  # samples of one forward; None: batch_size / ranks, then remembered  # noqa: UP045
    precision: Precision = Precision.fp32
    parallel: Parallel = Parallel.ddp
    device: Device = Device.auto
    deterministic: Optional[bool] = None  # None: on a CPU yes, elsewhere no  # noqa: UP045
    channels_last: bool = False  # memory layout of images and convolutions
    ema_decay: Optional[float] = None  # of the averaged weights that are evaluated and saved  # noqa: UP045
    grad_clip: Optional[float] = None  # largest L2 norm of the whole gradient  # noqa: UP045
    compile: bool = False  # torch.compile: the model, or with fsdp each of its layers
    activation_checkpointing: bool = False  # layers are computed again in the backward pass: less memory, more time
    non_finite: NonFinite = NonFinite["raise"]  # a loss or gradient that is not finite: stop, or skip the step's update
    max_skipped: int = 100  # steps that non_finite=skip may skip in a run


@dataclass
class CheckpointSection:
    every_steps: Optional[int] = 1000  # None: not by steps; the last step always has one  # noqa: UP045
    every_minutes: Optional[float] = None  # by the first rank's clock, beside those by steps  # noqa: UP045
    keep_last: int = 2
    keep_best: Optional[str] = None  # EVALUATOR/METRIC, as in zero_shot/top1: the best is kept too  # noqa: UP045
    background: bool = True  # written while training goes on


@dataclass
class InitSection:
    path: Optional[str] = None  # weights to start from: a run, a model folder, a .safetensors file  # noqa: UP045
    exclude: List[str] = field(default_factory=list)  # patterns of names left at random, or in the file only  # noqa: UP006
    rename: Dict[str, str] = field(default_factory=dict)  # beginning of a name in the file -> in the model  # noqa: UP006
    head: Optional[str] = None  # how a head for other classes is made of the file's, or random; None: as it is  # noqa: UP045
    head_arguments: Free = field(default_factory=dict)  # of the entry of kind head that `head` names


@dataclass
class LogSection:
    every_steps: int = 10


@dataclass
class Recipe:
    """Everything one training run is made from."""

    model: Free = field(default_factory=dict)
    loss: Free = field(default_factory=dict)
    frozen: Free = field(default_factory=dict)  # label -> model whose outputs the loss sees, never trained
    data: DataSection = field(default_factory=DataSection)
    sampler: Free = field(default_factory=dict)
    optimizer: Free = field(default_factory=dict)
    schedule: Free = field(default_factory=dict)
    engine: EngineSection = field(default_factory=EngineSection)
    evaluators: Free = field(default_factory=dict)  # label -> {name, every_steps, ...}
    init: InitSection = field(default_factory=InitSection)
    checkpoint: CheckpointSection = field(default_factory=CheckpointSection)
    log: LogSection = field(default_factory=LogSection)
    seed: int = 0
    run_dir: Optional[str] = None  # None: runs/<recipe>  # noqa: UP045
    dry_run: bool = False


@dataclass
class EvaluationRecipe:
    """What ``corekit-eval`` takes: a run or model folder, and its recipe, to change parts of."""

    checkpoint: Optional[str] = None  # a run directory, a checkpoint or a model folder  # noqa: UP045
    model: Free = field(default_factory=dict)
    data: DataSection = field(default_factory=DataSection)
    engine: EngineSection = field(default_factory=EngineSection)
    evaluators: Free = field(default_factory=dict)
    seed: int = 0


FREE_SECTIONS = ("model", "loss", "frozen", "sampler", "optimizer", "schedule", "evaluators",
                 "data.dataset", "data.transform", "data.tokenizer", "init.rename", "init.head_arguments")


def recipe_schema() -> DictConfig:
    """The schema of a recipe as a config: closed, but for the free sections."""
    return _opened(OmegaConf.structured(Recipe))


def evaluation_schema() -> DictConfig:
    """The schema of an evaluation as a config: closed, but for the free sections."""
    return _opened(OmegaConf.structured(EvaluationRecipe))


def _opened(schema: DictConfig) -> DictConfig:
    for section in FREE_SECTIONS:
        node = OmegaConf.select(schema, section)
        if node is not None:
            OmegaConf.set_struct(node, False)
    return schema
