"""One run from its directory to its closing words."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from corekit.data.loader import split, step_parts
from corekit.data.source import Source
from corekit.engine.build import Run, build_run, build_tokenizer, check_wiring
from corekit.engine.checkpoint import Checkpoints, Counters, complete_checkpoints, save_recipe
from corekit.engine.distributed import Ranks, connect, disconnect
from corekit.engine.environment import describe
from corekit.engine.flops import flops_per_sample
from corekit.engine.journal import Journal, clock, figures, read_records
from corekit.engine.loop import train
from corekit.errors import CorekitError

# What may change between one start of a run and the next without making it another training.
CHANGEABLE = ("engine.steps", "engine.device", "log", "checkpoint", "data.root", "data.workers", "run_dir", "dry_run")


def run(recipe: dict[str, Any], source: Source) -> None:
    """Train what a checked recipe describes, from its newest checkpoint on if it has one.

    Raises:
        CorekitError: the directory holds another run, or something does not fit.
    """
    ranks = connect(recipe["engine"]["parallel"], recipe["engine"]["device"])
    try:
        _set_determinism(recipe, ranks)
        folder = Path(recipe["run_dir"])
        _settle_micro_batch(recipe, folder, ranks)
        _refuse_another_run(recipe, folder, source)
        defaults = check_wiring(recipe, source, build_tokenizer(recipe))
        environment = {**describe(ranks, torch.get_num_threads()), "data": source.fingerprint}
        checkpoints = Checkpoints(folder, recipe["checkpoint"]["keep_last"], ranks)
        prepared = build_run(recipe, source, ranks, checkpoints, environment)
        _prepare_folder(folder, recipe, environment, checkpoints, ranks)
        _train(prepared, folder, defaults)
    finally:
        disconnect()


def _train(run: Run, folder: Path, defaults: list[str]) -> None:
    began = time.perf_counter()
    ema = run.ema.model if run.ema else None
    counters = run.checkpoints.load_newest(run.plain_model, run.optimizer, ema)
    first = counters.step
    if first < run.steps:
        _settle_buckets(run, first)
    flops = flops_per_sample(run.recipe, run.lanes.source) if run.ranks.device.type == "cuda" else None
    journal = Journal(folder, run.ranks, run.steps, first, counters.samples, flops)
    try:
        for line in defaults:
            journal.say(line)
        journal.say(_opening(run, first, folder))
        train(run, counters, journal)
        if run.ranks.is_first:
            journal.say(closing(run, counters, folder, first, time.perf_counter() - began))
    finally:
        journal.close()


def _set_determinism(recipe: Mapping[str, Any], ranks: Ranks) -> None:
    wanted = recipe["engine"]["deterministic"]
    torch.use_deterministic_algorithms(ranks.device.type == "cpu" if wanted is None else wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # filling costs time
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False


def _settle_micro_batch(recipe: dict[str, Any], folder: Path, ranks: Ranks) -> None:
    """The micro-batch in the recipe, or the one this run began with, or an equal share of the batch a rank."""
    engine = recipe["engine"]
    if engine["micro_batch"] is None:
        saved = folder / "recipe.yaml"
        remembered = OmegaConf.select(OmegaConf.load(saved), "engine.micro_batch") if saved.is_file() else None
        if remembered is None and engine["batch_size"] % ranks.world:
            raise CorekitError(f"engine.batch_size={engine['batch_size']} cannot be shared equally by {ranks.world} ranks")
        engine["micro_batch"] = remembered or engine["batch_size"] // ranks.world


def _refuse_another_run(recipe: Mapping[str, Any], folder: Path, source: Source) -> None:
    saved = folder / "recipe.yaml"
    if not saved.is_file():
        return
    before = _flat(OmegaConf.to_container(OmegaConf.load(saved)))
    now = _flat(recipe)
    different = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)
                 and not any(key == part or key.startswith(part + ".") for part in CHANGEABLE)]
    if different:
        shown = "; ".join(f"{key} was {before.get(key, 'absent')}, is {now.get(key, 'absent')}" for key in different[:4])
        raise CorekitError(f"{folder} holds another run ({shown}): type run_dir=ANOTHER_FOLDER, or the same command again")
    for checkpoint in complete_checkpoints(folder)[-1:]:
        environment = json.loads((checkpoint / "environment.json").read_text(encoding="utf-8"))
        if environment["data"] != source.fingerprint:
            raise CorekitError(f"{folder} was trained on other data: the index of {recipe['data']['root'] or 'the data set'} "
                               "differs from the one in its checkpoint; give it the same data or another run_dir")


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or (not node and prefix):
        return {prefix.rstrip("."): node}
    return {key: value for name, item in node.items() for key, value in _flat(item, f"{prefix}{name}.").items()}


def _prepare_folder(folder: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any], checkpoints: Checkpoints,
                    ranks: Ranks) -> None:
    if ranks.is_first:
        try:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            save_recipe(folder / "recipe.yaml", recipe)
            (folder / "environment.json").write_text(json.dumps(environment, indent=1), encoding="utf-8")
            checkpoints.tidy()
        except OSError as error:
            raise CorekitError(f"run_dir={folder} cannot be written to: {error}") from None
    ranks.barrier()


def _settle_buckets(run: Run, step: int) -> None:
    """One backward pass that leaves no trace, where there are several ranks.

    DDP orders its gradient buckets anew after the first backward pass, and sums of three and more ranks round by that
    order: with this pass behind it, a resumed run sums as the undisturbed one does.
    """
    if run.ranks.world == 1:
        return
    part = next(step_parts(run.lanes, step, step + 1, 0))
    batch = run.step.place(split(part.batch, run.step.own)[0])
    run.plain_model.train()
    run.step.statistics.begin()
    outputs = run.model(**run.step.model_wire.pick(batch))
    values = outputs.values() if isinstance(outputs, dict) else [outputs]
    sum((value.float().sum() for value in values if value.requires_grad), torch.zeros(())).mul(0.0).backward()
    run.step.statistics.collect(first_time=False)
    run.step.statistics.before = None
    run.optimizer.zero_grad()


def _opening(run: Run, first: int, folder: Path) -> str:
    parameters = sum(value.numel() for value in run.plain_model.parameters())
    ranks = f"{run.ranks.world} ranks" if run.ranks.world > 1 else "1 process"
    begin = f"continuing at step {first}" if first else "training"
    return (f"{begin}: {run.recipe['model']['name']}, {parameters / 1e6:.2f} M parameters, {run.steps} steps of "
            f"{run.batch_size} samples on {run.ranks.device.type} ({ranks}, {run.recipe['engine']['precision']}); "
            f"everything goes to {folder}")


def closing(run: Run, counters: Counters, folder: Path, first: int, seconds: float) -> str:
    """What was trained, how well, where it lies and what to type next."""
    name = run.recipe["model"]["name"]
    done = f"Trained {name}" if counters.step > first else f"{name} was trained already"
    lines = ["", f"{done}: {counters.step} steps, {counters.samples:,} samples"
             + (f", {clock(seconds)} for the last {counters.step - first} steps." if counters.step > first else
                f". To train on, type a larger engine.steps; for a fresh run, another run_dir than {folder}.")]
    newest = {record["evaluator"]: record for record in read_records(folder / "evaluations.jsonl")}
    lines += [f"  {label}: {figures(record['metrics'])} on {record['evaluated']} samples (step {record['step']})"
              for label, record in newest.items()]
    if counters.bad:
        lines.append("  bad samples: " + ", ".join(f"{kind} {count}" for kind, count in sorted(counters.bad.items())))
    lines += [f"Weights, recipe and preprocessing: {folder}/model", "Next:",
              f"  corekit-eval checkpoint={folder}          the same figures again",
              f"  tensorboard --logdir {folder}/tensorboard",
              f"  python -c \"import corekit; model, preprocess, tokenize = corekit.load('{folder}')\""]
    return "\n".join(lines)
