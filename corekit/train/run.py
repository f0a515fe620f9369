"""One run from its directory to its closing words."""

import errno
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from corekit.checkpoint.init_from import training_mode
from corekit.checkpoint.new_head import REPORT
from corekit.checkpoint.training_state import Checkpoints, Counters
from corekit.data.datasets.base import LEFT_OUT, Source
from corekit.data.loading.loader import split, step_batches
from corekit.distributed.process_group import ProcessGroup, connect, disconnect
from corekit.errors import CorekitError
from corekit.records import read_records
from corekit.train.assemble import Run, build_run, build_tokenizer
from corekit.train.cost import flops_per_sample
from corekit.train.environment import describe
from corekit.train.logger import RunLogger, clock, figures
from corekit.train.run_dir import prepare, refuse_another_run, resolve_micro_batch
from corekit.train.signals import StopSignals
from corekit.train.trainer import train
from corekit.train.verify import check_wiring

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO)


def run(recipe: dict[str, Any], source: Source) -> bool:
    """Train what a checked recipe describes, from its newest checkpoint on if it has one.

    Returns:
        whether the last step was reached: a run that was asked to end says False.

    Raises:
        CorekitError: the directory holds another run, or something does not fit, or a disk is full.
    """
    ranks = connect(recipe["engine"]["parallel"], recipe["engine"]["device"])
    folder = Path(recipe["run_dir"])
    lock = None
    try:
        _set_determinism(recipe, ranks)
        resolve_micro_batch(recipe, folder, ranks)
        refuse_another_run(recipe, folder, source)
        tokenizer = build_tokenizer(recipe)
        defaults = check_wiring(recipe, source, tokenizer)
        if tokenizer is not None:
            tokenizer("")  # its files are missing now or never
        environment = {**describe(ranks, torch.get_num_threads()), "data": source.fingerprint}
        checkpoints = Checkpoints(folder, recipe["checkpoint"]["keep_last"], ranks,
                                  recipe["checkpoint"]["background"])
        prepared = build_run(recipe, source, ranks, checkpoints, environment)
        lock = prepare(folder, recipe, environment, checkpoints, ranks)
        with warnings.catch_warnings():
            # one process is meant to save alone
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            return _train(prepared, folder, defaults)
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise CorekitError(f"{error.filename or folder}: {error.strerror}; the last whole "
                           f"checkpoint stands, and the same "
                           "command goes on from it") from None
    finally:
        disconnect()
        if lock is not None:
            lock.close()


def _train(run: Run, folder: Path, defaults: list[str]) -> bool:
    began = time.perf_counter()
    counters = run.checkpoints.load_newest(run.plain_model, run.optimizer, run.ema)
    run.precision.resume(counters.loss_scale, counters.good_steps)
    first = counters.step
    if first < run.steps:
        _warm_up_wrapper(run, first)
    flops = flops_per_sample(run.recipe,
                             run.streams.source) if run.ranks.device.type == "cuda" else None
    logger = RunLogger(folder, run.ranks, run.steps, first, counters.samples, flops)
    try:
        for line in defaults:
            logger.say(line)
        logger.say(_opening(run, first, folder))
        for line in run.refitted:
            logger.say(line)
        if run.new_head is not None and run.new_head.matches:
            logger.say(run.new_head.summary())
            if run.ranks.is_first:
                (folder / REPORT).write_text(run.new_head.report(), encoding="utf-8")
        with StopSignals(run.recipe["checkpoint"]["every_minutes"], run.ranks) as signals:
            finished = train(run, counters, logger, signals)
            run.checkpoints.wait()
        if run.ranks.is_first:
            run.checkpoints.tidy()
        if not finished:
            logger.say(f"stopped by a signal; step {counters.step} of {run.steps} is saved: the "
                       f"same command goes on from it")
        elif run.ranks.is_first:
            logger.say(closing(run, counters, folder, first, time.perf_counter() - began))
    finally:
        run.checkpoints.abandon()
        logger.close()
    return finished


def _set_determinism(recipe: Mapping[str, Any], ranks: ProcessGroup) -> None:
    wanted = recipe["engine"]["deterministic"]
    torch.use_deterministic_algorithms(ranks.device.type == "cpu" if wanted is None else wanted)
    # filling costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False


def _warm_up_wrapper(run: Run, step: int) -> None:
    """One forward and backward pass that leaves no trace, where there are several ranks.

    DDP orders its gradient buckets anew after the first backward pass, and sums of three and more
    ranks round by that order: with this pass behind it, a resumed run sums as the undisturbed one
    does. FSDP2 sets itself up in a first forward pass of the whole model, which has to come before
    an evaluation's passes through parts of it. """
    if run.ranks.world == 1:
        return
    part = next(step_batches(run.streams, step, step + 1, 0))
    training_mode(run.plain_model)
    run.step.rehearse(split(part.batch, run.step.own)[0])
    run.optimizer.zero_grad()


def _opening(run: Run, first: int, folder: Path) -> str:
    parameters = sum(value.numel() for value in run.plain_model.parameters())
    ranks = f"{run.ranks.world} ranks" if run.ranks.world > 1 else "1 process"
    table = getattr(run.streams.sampler, "table", ())
    sizes = f" at {run.preprocess.size} pixels (sizes change from {table[0][0]} to {table[-1][0]})" if table else ""
    begin = f"continuing at step {first}" if first else "training"
    return (f"{begin}: {run.recipe['model']['name']}, {parameters / 1e6:.2f} M parameters, "
            f"{run.steps} steps of "
            f"{run.batch_size} samples{sizes} on {run.ranks.device.type} ({ranks}, "
            f"{run.recipe['engine']['precision']}); "
            f"everything goes to {folder}")


def closing(run: Run, counters: Counters, folder: Path, first: int, seconds: float) -> str:
    """What was trained, how well, where it lies and what to type next."""
    name = run.recipe["model"]["name"]
    done = f"Trained {name}" if counters.step > first else f"{name} was trained already"
    lines = [
        "", f"{done}: {counters.step} steps, {counters.samples:,} samples" +
        (f", {clock(seconds)} for the last {counters.step - first} steps." if counters.step > first
         else f". To train on, type a larger engine.steps; for a fresh run, another run_dir than "
         f"{folder}.")
    ]
    newest = {record["evaluator"]: record for record in read_records(folder / "evaluations.jsonl")}
    lines += [f"  {label}: {figures(record['metrics'])} on {record['evaluated']} samples (step "
              f"{record['step']})"
              for label, record in newest.items()]
    bad = {kind: count for kind, count in counters.bad.items() if kind != LEFT_OUT}
    if bad:
        lines.append("  bad samples: " + ", ".join(f"{kind} {count}"
                                                   for kind, count in sorted(bad.items())))
    if LEFT_OUT in counters.bad:
        lines.append(f"  samples that the data set leaves out, replaced by others: "
                     f"{counters.bad[LEFT_OUT]}")
    lines += [f"Weights, recipe and preprocessing: {folder}/model", "Next:",
              f"  corekit-eval checkpoint={folder}          the same figures again",
              f"  tensorboard --logdir {folder}/tensorboard",
              f"  python -c \"import corekit; model, preprocess, tokenize = "
              f"corekit.load('{folder}')\""]
    return "\n".join(lines)
