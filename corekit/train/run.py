"""One run from its directory to its closing words."""

import errno
import os
import shlex
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from corekit.checkpoint.checksums import set_aside_damaged
from corekit.checkpoint.initial.new_head import REPORT
from corekit.checkpoint.llava.layout import remarks
from corekit.checkpoint.own_runs import refuse_somebody_elses
from corekit.checkpoint.training_state import Checkpoints, Counters, complete_checkpoints
from corekit.data.datasets.base import LEFT_OUT, Source
from corekit.data.loading.collate import split
from corekit.data.loading.loader import step_batches
from corekit.distributed.process_group import ProcessGroup, joined
from corekit.errors import CorekitError
from corekit.models.freeze import training_mode
from corekit.printable import override
from corekit.recipes.schema import EngineConfig, RunConfig
from corekit.records import figures, read_records
from corekit.train.assemble import Parts, assemble
from corekit.train.cost import cost
from corekit.train.logger import RunLogger, clock
from corekit.train.materialise import Run, materialise
from corekit.train.run_dir import (
    describe,
    order_version,
    prepare,
    refuse_another_run,
    resolve_micro_batch,
)
from corekit.train.signals import StopSignals
from corekit.train.symptoms.watch import Watch
from corekit.train.trainer import train
from corekit.train.verify import verify

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


def run(config: RunConfig, source: Source | Callable[[], Source]) -> bool:
    """Train what a checked recipe describes, from its newest checkpoint on if it has one.

    Args:
        config: the recipe.
        source: its training data, or what opens them when the ranks have met: the others then hear
            of an error of one of them.

    Returns:
        False for a run that was asked to end before its last step.

    Raises:
        CorekitError: the directory holds another run, or something does not fit, or a disk is full.
    """
    with joined(config.engine.parallel, config.engine.device) as ranks:
        return _run(config, source() if callable(source) else source, ranks)


def _run(config: RunConfig, source: Source, ranks: ProcessGroup) -> bool:
    assert config.run_dir is not None
    folder = Path(config.run_dir)
    lock = None
    try:
        set_determinism(config.engine, ranks)
        for each in (folder, *complete_checkpoints(folder)[-1:]):
            refuse_somebody_elses(each)
        if ranks.is_first:
            set_aside_damaged(complete_checkpoints(folder))
        ranks.barrier()
        micro_batch = resolve_micro_batch(config.engine, folder, ranks)
        config = replace(config, engine=replace(config.engine, micro_batch=micro_batch))
        refuse_another_run(config, folder, source)
        parts = assemble(config, source, ranks.world)
        defaults = [*verify(parts), *remarks(parts.model, parts.preprocess)]
        if parts.tokenizer is not None:
            parts.tokenizer("")  # its files are missing now or never
        # forward and backward
        flops = 3 * cost(parts).forward_flops if ranks.device.type == "cuda" else None
        environment = {**describe(ranks, torch.get_num_threads()), "data": source.fingerprint,
                       "order": order_version(folder)}
        checkpoints = Checkpoints(folder, config.checkpoint.keep_last, ranks,
                                  config.checkpoint.background)
        begins = not complete_checkpoints(folder)
        prepared = materialise(parts, ranks, checkpoints, environment, begins)
        lock = prepare(folder, config, environment, checkpoints, ranks)
        with warnings.catch_warnings():
            # one process is meant to save alone
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            return _train(prepared, parts, folder, defaults, flops)
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise CorekitError(f"{error.filename or folder}: {error.strerror}; the last whole "
                           "checkpoint stands, and the same command goes on from it") from None
    finally:
        if lock is not None:
            lock.close()


def _train(run: Run, parts: Parts, folder: Path, defaults: list[str],
           flops: float | None) -> bool:
    began = time.perf_counter()
    counters = run.checkpoints.load_newest(run.plain_model, run.optimizer, run.ema)
    run.precision.resume(counters.loss_scale, counters.good_steps)
    first, steps = counters.step, run.config.engine.steps
    if first < steps:
        _warm_up_wrapper(run, first)
    logger = RunLogger(folder, run.ranks, steps, first, counters.samples, flops)
    try:
        for line in [*defaults, _opening(run, first, folder), *run.refitted]:
            logger.say(line)
        if run.new_head is not None and run.new_head.matches:
            logger.say(run.new_head.summary())
            if run.ranks.is_first:
                (folder / REPORT).write_text(run.new_head.report(), encoding="utf-8")
        with StopSignals(run.config.checkpoint.every_minutes, run.ranks) as signals:
            watch = Watch(run, parts, logger, first)
            finished = train(run, counters, logger, signals, watch)
            run.checkpoints.wait()
        if run.ranks.is_first:
            run.checkpoints.tidy()
        if not finished:
            logger.say(f"stopped by a signal; step {counters.step} of {steps} is saved: the "
                       "same command goes on from it")
        elif run.ranks.is_first:
            seconds = time.perf_counter() - began
            report = closing(run.config.model.name, counters, folder, first, seconds,
                             watch.report(counters.step))
            for line in report.split("\n"):
                logger.say(line)
    finally:
        run.checkpoints.abandon()
        logger.close()
    return finished


def set_determinism(engine: EngineConfig, ranks: ProcessGroup) -> None:
    """Choose deterministic algorithms where the recipe, or the CPU, asks for them."""
    on_cpu = ranks.device.type == "cpu"
    torch.use_deterministic_algorithms(on_cpu if engine.deterministic is None
                                       else engine.deterministic)
    # filling costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if engine.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False


def _warm_up_wrapper(run: Run, step: int) -> None:
    """One forward and backward pass that leaves no trace, where there are several ranks.

    DDP orders its gradient buckets anew after the first backward pass, and sums of three and more
    ranks round by that order: with this pass behind it, a resumed run sums as the undisturbed one
    does. FSDP2 sets itself up in a first forward pass of the whole model, which has to come before
    an evaluation's passes through parts of it.
    """
    if run.ranks.world == 1:
        return
    part = next(step_batches(run.streams, step, step + 1, 0))
    training_mode(run.plain_model)
    micro_batches = split(part.batch, run.step.own_micro_batches, run.streams.fields)
    run.step.rehearse(micro_batches[0])
    run.optimizer.zero_grad()


def _opening(run: Run, first: int, folder: Path) -> str:
    parameters = sum(value.numel() for value in run.plain_model.parameters())
    ranks = f"{run.ranks.world} ranks" if run.ranks.world > 1 else "1 process"
    table = getattr(run.streams.sampler, "table", ())
    sizes = (f" at {run.preprocess.size} pixels (sizes change from {table[0][0]} to "
             f"{table[-1][0]})" if table else "")
    begin = f"continuing at step {first}" if first else "training"
    engine = run.config.engine
    return (f"{begin}: {run.config.model.name}, {parameters / 1e6:.2f} M parameters, "
            f"{engine.steps} steps of {engine.batch_size} samples{sizes} on "
            f"{run.ranks.device.type} ({ranks}, {engine.precision}); everything goes to {folder}")


def closing(name: str, counters: Counters, folder: Path, first: int, seconds: float,
            report: Sequence[str] = ()) -> str:
    """What was trained, how well, where it lies and what to type next."""
    amount = f"{counters.step} steps, {counters.samples:,} samples"
    if counters.step > first:
        lines = ["", f"Trained {name}: {amount}, {clock(seconds)} for the last "
                     f"{counters.step - first} steps."]
    else:
        lines = ["", f"{name} was trained already: {amount}. To train on, type a larger "
                     f"engine.steps; for a fresh run, another run_dir than {folder}."]
    lines += report
    newest = {record["evaluator"]: record for record in read_records(folder / "evaluations.jsonl")}
    lines += [f"  {label}: {figures(record['metrics'])} on {record['evaluated']} samples (step "
              f"{record['step']})" for label, record in newest.items()]
    bad = [f"{kind} {count}" for kind, count in sorted(counters.bad.items()) if kind != LEFT_OUT]
    if bad:
        lines.append("  bad samples: " + ", ".join(bad))
    if LEFT_OUT in counters.bad:
        lines.append("  samples that the data set leaves out, replaced by others: "
                     f"{counters.bad[LEFT_OUT]}")
    lines += [f"Weights, recipe and preprocessing: {folder}/model", "Next:"]
    again = "the same figures again" if newest else "what can be evaluated"
    lines.append(f"  corekit-eval {override('checkpoint', folder)}{'' if newest else ' --help'}"
                 f"          {again}")
    python = f"import corekit; model, preprocess, tokenize = corekit.load({str(folder)!r})"
    lines += [f"  tensorboard --logdir {shlex.quote(f'{folder}/tensorboard')}",
              f"  python -c {shlex.quote(python)}" if set(python) & set('"$`\\!')
              else f'  python -c "{python}"']
    return "\n".join(lines)
