"""Checkpoints that are whole or not there, and the model folder inside each.

A checkpoint is written to ``step_<N>.writing`` and renamed when every rank is done, so a name without a suffix is a
complete one, whatever was killed when.
"""

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from corekit.data.preprocess import Preprocess
from corekit.engine.distributed import Ranks
from corekit.errors import CorekitError

WRITING = ".writing"


@dataclass
class Counters:
    """What a run has done so far; ``bad`` counts undecodable samples by kind."""

    step: int = 0
    samples: int = 0
    bad: dict[str, int] = field(default_factory=dict)


def complete_checkpoints(run: Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step_*") if path.is_dir() and path.suffix == "")


def save_model_folder(folder: Path, model: nn.Module, recipe: Mapping[str, Any], preprocess: Preprocess) -> None:
    """Write ``model.safetensors``, ``recipe.yaml`` and ``preprocess.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    save_recipe(folder / "recipe.yaml", recipe)
    preprocess.save(folder / "preprocess.json")


def save_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a resolved recipe; a reader sees the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + WRITING)
    temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(dict(recipe))), encoding="utf-8")
    os.replace(temporary, path)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model with a model folder's weights, strictly.

    Raises:
        CorekitError: no such file, no safetensors, or other names or shapes than the model's.
    """
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CorekitError(f"{path} cannot be loaded: {' '.join(str(error).split())[:300]}") from None


class Checkpoints:
    """Writes and reads one run's checkpoints.

    Args:
        run: the run directory.
        keep_last: how many complete ones to keep.
        ranks: all of them take part in a save.
    """

    def __init__(self, run: Path, keep_last: int, ranks: Ranks) -> None:
        self.run, self.keep_last, self.ranks = run, max(1, keep_last), ranks
        self.folder = run / "checkpoints"

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module | None, counters: Counters,
             recipe: Mapping[str, Any], preprocess: Preprocess, environment: Mapping[str, Any]) -> Path:
        """Write the state of the run, then make it count by one rename."""
        final = self.folder / f"step_{counters.step:08d}"
        if final.is_dir():  # complete, from before: never replaced, so that no moment is without it
            return final
        writing = final.with_name(final.name + WRITING)
        if self.ranks.is_first:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
        self.ranks.barrier()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is meant to save alone
            dcp.save(  # type: ignore[attr-defined]
                _state(model, optimizer, ema), checkpoint_id=writing / "state", no_dist=self.ranks.world == 1)
        if self.ranks.is_first:
            (writing / "counters.json").write_text(json.dumps(asdict(counters)), encoding="utf-8")
            (writing / "environment.json").write_text(json.dumps(environment, indent=1), encoding="utf-8")
            save_model_folder(writing / "model", ema or model, recipe, preprocess)
            _to_disk(writing)
            os.replace(writing, final)
            self.tidy()
        self.ranks.barrier()
        return final

    def tidy(self) -> None:
        """Point RUN/model at the newest complete checkpoint; remove what was left half-written, and old ones."""
        complete = complete_checkpoints(self.run)
        if complete:
            link = self.run / ("model" + WRITING)
            link.unlink(missing_ok=True)
            link.symlink_to(Path("checkpoints") / complete[-1].name / "model")
            os.replace(link, self.run / "model")
        for old in [*complete[:-self.keep_last], *self.folder.glob(f"*{WRITING}")]:
            # An old one is renamed first: killed half-way through, what is left must not look complete.
            doomed = old if old.suffix else old.with_name(old.name + WRITING)
            if doomed != old:
                os.replace(old, doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def load_newest(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module | None) -> Counters:
        """Fill everything from the newest complete checkpoint; fresh counters where there is none."""
        complete = complete_checkpoints(self.run)
        if not complete:
            return Counters()
        state = _state(model, optimizer, ema)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(state, checkpoint_id=complete[-1] / "state", no_dist=self.ranks.world == 1)  # type: ignore[attr-defined]
        model.load_state_dict(state["model"])
        set_optimizer_state_dict(model, optimizer, state["optimizer"])
        if ema is not None:
            ema.load_state_dict(state["ema"])
        return Counters(**json.loads((complete[-1] / "counters.json").read_text(encoding="utf-8")))


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module | None) -> dict[str, Any]:
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    return state if ema is None else {**state, "ema": ema.state_dict()}


def _to_disk(folder: Path) -> None:
    """Make the files outlive a power cut before the rename that makes them count."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
