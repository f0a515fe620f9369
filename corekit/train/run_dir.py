"""A run's directory: whose it is, what it holds, and that one run at a time writes to it."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf

from corekit.checkpoint.model_folder import save_recipe
from corekit.checkpoint.training_state import Checkpoints, complete_checkpoints
from corekit.data.datasets.base import Source
from corekit.distributed.process_group import ProcessGroup
from corekit.errors import CorekitError
from corekit.files import lock
from corekit.recipes.saved import load_saved_recipe
from corekit.recipes.schema import recipe_schema
from corekit.records import best_evaluation

# What may change between one start of a run and the next without making it another training.
CHANGEABLE = ("engine.steps", "engine.device", "engine.parallel", "engine.compile",
              "engine.activation_checkpointing", "engine.non_finite", "engine.max_skipped", "log",
              "checkpoint", "data.root", "data.workers", "data.max_bad_fraction", "run_dir",
              "dry_run")
PATIENCE = 3.0  # seconds: what a killed run's last process may take to go


def resolve_micro_batch(recipe: dict[str, Any], folder: Path, ranks: ProcessGroup) -> None:
    """The micro-batch in the recipe, or the one this run began with, or an equal share of the batch
    a rank.
    """
    engine = recipe["engine"]
    if engine["micro_batch"] is None:
        saved = folder / "recipe.yaml"
        remembered = OmegaConf.select(load_saved_recipe(saved),
                                      "engine.micro_batch") if saved.is_file() else None
        if remembered is None and engine["batch_size"] % ranks.world:
            raise CorekitError(f"engine.batch_size={engine['batch_size']} cannot be shared equally "
                               f"by {ranks.world} ranks")
        engine["micro_batch"] = remembered or engine["batch_size"] // ranks.world


def refuse_another_run(recipe: Mapping[str, Any], folder: Path, source: Source) -> None:
    """Raise a CorekitError where the directory holds a run of another recipe or of other data."""
    saved = folder / "recipe.yaml"
    if not saved.is_file():
        return
    before = _flat(OmegaConf.to_container(load_saved_recipe(saved)))
    now = _flat(recipe)
    # A newer corekit may have keys that the run was begun without: at their defaults they change
    # nothing.
    defaults = _flat(OmegaConf.to_container(recipe_schema(), enum_to_str=True))
    before = {**{key: value for key, value in defaults.items() if key in now}, **before}
    different = [
        key for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(key == part or key.startswith(part + ".")
                                                       for part in CHANGEABLE)
        and not (key.endswith(".root") and key.startswith(("data.dataset.", "evaluators.")))
    ]
    if different:
        shown = "; ".join(f"{key} was {before.get(key, 'absent')}, is {now.get(key, 'absent')}"
                          for key in different[:4])
        raise CorekitError(f"{folder} holds another run ({shown}): type run_dir=ANOTHER_FOLDER, or "
                           f"the same command again")
    for checkpoint in complete_checkpoints(folder)[-1:]:
        environment = json.loads((checkpoint / "environment.json").read_text(encoding="utf-8"))
        if environment["data"] != source.fingerprint:
            raise CorekitError(f"{folder} was trained on other data: the index of "
                               f"{recipe['data']['root'] or 'the data set'} "
                               "differs from the one in its checkpoint; give it the same data or "
                               "another run_dir")


def prepare(folder: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any],
            checkpoints: Checkpoints, ranks: ProcessGroup) -> IO[bytes] | None:
    """Make the directory this run's own.

    Returns:
        the first rank's lock, to be kept until the run is over.

    Raises:
        CorekitError: it cannot be written to, or another process trains into it.
    """
    held = None
    if ranks.is_first:
        try:
            checkpoints.folder.mkdir(parents=True, exist_ok=True)
            held = _lock(folder)
            best = best_evaluation(folder / "evaluations.jsonl", recipe["checkpoint"]["keep_best"])
            checkpoints.best = best[1] if best else None
            save_recipe(folder / "recipe.yaml", recipe)
            (folder / "environment.json").write_text(json.dumps(environment, indent=1),
                                                     encoding="utf-8")
            checkpoints.tidy()
        except OSError as error:
            raise CorekitError(
                f"run_dir={folder} cannot be written to: {error.strerror or error}") from None
    ranks.barrier()
    return held


def _lock(folder: Path) -> IO[bytes]:
    """The lock of a run directory, kept as long as the file is open."""
    try:
        file = lock(folder / "lock", PATIENCE)
    except BlockingIOError:
        holder = (folder / "lock").read_text(encoding="utf-8").strip()
        raise CorekitError(f"another run is writing to {folder} "
                           f"({holder or 'it does not say where'}): wait for its end, stop it, or "
                           f"type run_dir=ANOTHER_FOLDER") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    file.flush()
    return file


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or (not node and prefix):
        return {prefix.rstrip("."): node}
    return {
        key: value for name, item in node.items()
        for key, value in _flat(item, f"{prefix}{name}.").items()
    }
