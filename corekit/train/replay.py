"""What a run trained on at a step, computed once more: the order is a function of the step."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corekit.checkpoint.checksums import damaged_file
from corekit.checkpoint.training_state import Checkpoints, Counters, complete_checkpoints
from corekit.data.datasets.base import Batch, Source
from corekit.data.fields import Field
from corekit.data.image_grid import Picture, batch_grid
from corekit.data.loading.collate import cut, join, split
from corekit.data.loading.loader import step_batches
from corekit.distributed.process_group import ProcessGroup, connect
from corekit.errors import CorekitError
from corekit.models.freeze import training_mode
from corekit.printable import printable
from corekit.recipes.schema import CheckpointConfig, RunConfig
from corekit.records import read_records
from corekit.train.assemble import assemble
from corekit.train.materialise import Run, materialise
from corekit.train.run import set_determinism
from corekit.train.run_dir import order_version, refuse_another_run
from corekit.train.step.sample_losses import sample_losses
from corekit.train.step.update import update

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplayedStep:
    """A step of a run.

    Args:
        batch: the samples of all ranks, as they were read.
        fields: of the samples.
        losses: the loss of each sample.
        loss: of the step.
        logged: what the run wrote down as the loss of the step; None where it did not log it.
    """

    batch: Batch
    fields: Mapping[str, Field]
    losses: list[float]
    loss: float
    logged: float | None

    def highest(self, most: int) -> list[int]:
        """The numbers of the samples with the highest losses, highest first."""
        return sorted(range(len(self.losses)), key=lambda number: -self.losses[number])[:most]

    def name(self, number: int) -> str:
        """The key of a sample, and its caption where it has one."""
        caption = self.batch["caption"][number] if "caption" in self.batch else ""
        return printable(f"{self.batch['key'][number]}  {caption}".rstrip())

    def picture(self, numbers: Sequence[int]) -> Picture | None:
        """Some of the samples with their losses; None where they have no images of one size."""
        samples = []
        for number in numbers:
            sample = cut(self.batch, number, number + 1, self.fields)
            label = [f"{self.losses[number]:.4f} {self.name(number)}"]
            samples.append({**sample, "key": label, "caption": label})
        return batch_grid(join(samples, self.fields), self.fields, len(samples))


def replay(config: RunConfig, folder: Path, source: Source, step: int) -> ReplayedStep:
    """Train from the newest checkpoint before a step up to that step, and write nothing.

    One process takes the place of all ranks, which changes nothing but rounding.

    Args:
        config: the recipe of the run.
        folder: the run directory.
        source: its data.
        step: the number of the step, from 1.

    Raises:
        CorekitError: the run has no such step, it was trained on other data, or a loss has no
            figure of a single sample.
    """
    if not 1 <= step <= config.engine.steps:
        raise CorekitError(f"step {step} is none of {folder}, which has steps 1 to "
                           f"{config.engine.steps}")
    refuse_another_run(config, folder, source)
    ranks = connect("none", config.engine.device)
    set_determinism(config.engine, ranks)
    earlier = [path for path in complete_checkpoints(folder)
               if int(path.name.partition("_")[2]) < step]
    run = _materialised(config, folder, source, ranks, begins=not earlier)
    counters = _start(run, earlier[-1] if earlier else None, step)
    number, fields = step - 1, run.streams.fields
    micro_batches: Sequence[Batch] = ()
    for part in step_batches(run.streams, counters.step, step, config.data.workers):
        micro_batches = split(part.batch, run.step.own_micro_batches, fields)
        if counters.step == number:
            break
        run.optimizer.zero_grad()
        losses, _ = run.step(micro_batches, counters.step)
        keys = [key for batch in micro_batches for key in batch["key"]]
        update(run, counters, losses, keys, run.learning_rate(counters.step))
        counters.step += 1
    run.optimizer.zero_grad()
    losses, _ = run.step(micro_batches, number)
    run.step.statistics.discard()
    weights = {loss.label: loss.weight for loss in run.step.losses}
    parts = sample_losses(run.step, micro_batches, number, fields)
    of_samples = [sum(weights[name.partition("/")[0]] * value for name, value in values.items())
                  for values in parts]
    logged = [record["loss"] for record in read_records(folder / "metrics.jsonl")
              if record["step"] == step]
    return ReplayedStep(join(micro_batches, fields), fields, of_samples, losses["loss"],
                        logged[-1] if logged else None)


def _materialised(config: RunConfig, folder: Path, source: Source, ranks: ProcessGroup,
                  begins: bool) -> Run:
    """The run in this process, without evaluators."""
    engine = replace(config.engine, parallel="none")
    config = replace(config, engine=engine, evaluators=(), checkpoint=CheckpointConfig())
    checkpoints = Checkpoints(folder, 1, ranks)
    environment = {"order": order_version(folder)}
    return materialise(assemble(config, source), ranks, checkpoints, environment, begins)


def _start(run: Run, checkpoint: Path | None, step: int) -> Counters:
    """Load the checkpoint, if there is one; a message where steps lie behind it."""
    training_mode(run.plain_model)
    counters = Counters()
    if checkpoint is not None:
        name = damaged_file(checkpoint)
        if name is not None:
            raise CorekitError(f"{checkpoint / name} is damaged: it is not what was written; move "
                               f"{checkpoint.name} away to begin before it")
        counters = run.checkpoints.load(checkpoint, run.plain_model, run.optimizer, run.ema)
    run.precision.resume(counters.loss_scale, counters.good_steps)
    if counters.step < step - 1:
        log.info("no checkpoint of step %d is kept: training steps %d to %d again", step - 1,
                 counters.step + 1, step - 1)
    return counters
