"""Checkpoints that are whole or not there, and the model folder inside each.

A checkpoint is written to ``step_<N>.writing`` and renamed when every rank is done, so a name
without a suffix is a complete one, whatever was killed when.
"""

import contextlib
import copy
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as torch_state_dict
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from corekit.checkpoint.checksums import write_checksums
from corekit.checkpoint.model_folder import save_model_folder
from corekit.checkpoint.own_runs import refuse_somebody_elses
from corekit.checkpoint.portable import portable_recipe, save_tokenizer
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.fsdp import from_files, full_state, is_sharded, local, to_files
from corekit.distributed.process_group import ProcessGroup
from corekit.errors import CorekitError
from corekit.files import WRITING, publish, set_aside
from corekit.models.text_tower import open_clip_names
from corekit.optim.ema import Ema
from corekit.recipes.schema import Node

log = logging.getLogger(__name__)

State = dict[str, Any]  # tensors and numbers, nested
Environment = Mapping[str, object]  # environment.json
ABANDON = 900  # seconds for a checkpoint that is being written when a run ends with an error


@dataclass
class Counters:
    """What a run has done so far."""

    step: int = 0
    samples: int = 0
    bad: dict[str, int] = field(default_factory=dict)  # undecodable samples by kind
    skipped: int = 0  # steps without an update
    loss_scale: float | None = None  # of fp16, as are the good steps
    good_steps: int = 0


def complete_checkpoints(run: Path) -> list[Path]:
    """The run's complete checkpoints, oldest first; other names beside them are somebody else's."""
    return [path for path in _checkpoints(run) if path.suffix == ""]


def _checkpoints(run: Path) -> list[Path]:
    """Complete ones and half-written ones."""
    name = re.compile(rf"step_\d{{8,}}({re.escape(WRITING)})?")
    return sorted(path for path in (run / "checkpoints").glob("step_*")
                  if name.fullmatch(path.name) and path.is_dir())


class Checkpoints:
    """Writes and reads one run's checkpoints; all ranks take part in a save.

    In the background they are written while training goes on, from a copy on the CPU.
    """

    def __init__(self, run: Path, keep_last: int, ranks: ProcessGroup,
                 background: bool = False) -> None:
        self.run, self.keep_last, self.ranks = run, max(1, keep_last), ranks
        self.folder = run / "checkpoints"
        self.best: int | None = None  # the step whose checkpoint is kept whatever comes after it
        # Exchanges of a save in the background must not meet those of training.
        self.group = dist.new_group(backend="gloo") if ranks.world > 1 else None
        self.writer = ThreadPoolExecutor(1, "checkpoint") if background else None
        self.pending: Future[None] | None = None

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None,
             counters: Counters, recipe: Node, preprocess: Preprocess,
             environment: Environment, tokenizer: Tokenizer | None = None) -> None:
        """Write the state of the run, then make it count by one rename.

        In the background this returns once the state is copied, and ``wait`` or the next save
        raises the CorekitError of a checkpoint that could not be written.
        """
        self.wait()
        final = self.folder / f"step_{counters.step:08d}"
        if final.is_dir():  # complete, from before: never replaced, so that no moment is without it
            return
        self._refuse_non_finite(model.state_dict(), counters)
        self._refuse_non_finite(ema.values if ema else {}, counters)
        writing = final.with_name(final.name + WRITING)
        if self.ranks.is_first:
            with self._explained(writing):
                shutil.rmtree(writing, ignore_errors=True)
                writing.mkdir(parents=True)
        self.ranks.barrier()
        state = to_files(_state(model, optimizer, ema), model)
        weights: dict[str, Tensor] = {}
        if self.ranks.is_first or is_sharded(model):
            with ema.swapped() if ema else contextlib.nullcontext():
                weights = full_state(model, self.ranks.is_first)
        recipe = portable_recipe(recipe, model, tokenizer)
        files = {"counters.json": json.dumps(asdict(counters)),
                 "environment.json": json.dumps(environment, indent=1)}

        def write() -> None:
            with self._explained(writing):
                self._write(state, writing)
                if self.ranks.is_first:
                    for name, content in files.items():
                        (writing / name).write_text(content, encoding="utf-8")
                    save_model_folder(writing / "model", weights, recipe, preprocess)
                    save_tokenizer(writing / "model", tokenizer)
                    write_checksums(writing)
                    publish(writing, final, durable=True)
                    self.tidy()

        if self.writer is None:
            write()
            self.ranks.barrier()
        else:
            state = _copied(state)
            self.pending = self.writer.submit(write)

    def _refuse_non_finite(self, weights: Mapping[str, Tensor], counters: Counters) -> None:
        """Raise a CorekitError, on all ranks, where a weight of one of them is not finite."""
        names = [name for name, value in weights.items() if not local(value).isfinite().all()]
        if self.ranks.sum(torch.tensor(len(names), device=self.ranks.device)):
            shown = ", ".join(names[:3]) or "on another rank"
            raise CorekitError(f"after step {counters.step} weights are not finite ({shown}), so "
                               "that no checkpoint of them is written. The last one is untouched: "
                               "begin anew, in another run_dir, with a lower "
                               "optimizer.learning_rate or with engine.grad_clip")

    def wait(self) -> None:
        """Wait for the checkpoint that is being written; a CorekitError where that failed."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()
            self.ranks.barrier()

    def abandon(self) -> None:
        """Let the checkpoint that is being written end, well or not, since the run is over."""
        if self.pending is not None:
            futures.wait([self.pending], timeout=ABANDON)

    def check(self) -> None:
        """Raise what went wrong in the background, without waiting for what is under way."""
        pending = self.pending
        if pending is not None and pending.done() and pending.exception() is not None:
            pending.result()

    def _write(self, state: State, writing: Path) -> None:
        save(state, checkpoint_id=writing / "state", no_dist=self.ranks.world == 1,
             process_group=self.group)

    @contextlib.contextmanager
    def _explained(self, writing: Path) -> Iterator[None]:
        """What a disk can do wrong, as one sentence; the half-written checkpoint is removed."""
        try:
            yield
        except (OSError, RuntimeError, CheckpointException, SafetensorError) as error:
            complete = complete_checkpoints(self.run)
            previous = (f"{complete[-1].name} is whole and stands" if complete
                        else "there is none before it")
            with contextlib.suppress(OSError):
                shutil.rmtree(writing, ignore_errors=True)
            free = shutil.disk_usage(self.run).free / 2**30
            reason = " ".join(str(error).split())[-200:]
            raise CorekitError(f"checkpoint {writing.name.removesuffix(WRITING)} of {self.run} "
                               f"could not be written ({free:.1f} GiB are free there; {reason}); "
                               f"{previous}: put that right, then type the same command "
                               "again") from None

    def tidy(self) -> None:
        """Link the newest complete checkpoint as RUN/model; remove half-written and old ones."""
        complete = complete_checkpoints(self.run)
        if complete:
            self._link("model", complete[-1])
        to_keep = complete[-self.keep_last:]
        best = self.folder / f"step_{self.best:08d}" if self.best is not None else None
        if best in complete:
            to_keep = [*to_keep, best]
            self._link("best", best)
        for old in [path for path in _checkpoints(self.run) if path not in to_keep]:
            # renamed first: killed half-way through, what is left must not look complete
            temporary = old if old.suffix else old.with_name(old.name + WRITING)
            os.replace(old, temporary)
            shutil.rmtree(temporary, ignore_errors=True)

    def _link(self, name: str, checkpoint: Path) -> None:
        taken = self.run / name
        if taken.exists() and not taken.is_symlink():  # the run was copied with its links resolved
            aside = set_aside(taken, ".copy")
            log.warning("%s is no link to a checkpoint: it is kept as %s", taken, aside.name)
        link = self.run / (name + WRITING)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("checkpoints") / checkpoint.name / "model")
        publish(link, self.run / name)

    def load_newest(self, model: nn.Module, optimizer: torch.optim.Optimizer,
                    ema: Ema | None) -> Counters:
        """Restore the newest complete checkpoint; fresh counters where there is none."""
        complete = complete_checkpoints(self.run)
        return self.load(complete[-1], model, optimizer, ema) if complete else Counters()

    def load(self, checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer,
             ema: Ema | None) -> Counters:
        """Restore a complete checkpoint; a CorekitError where it is somebody else's."""
        refuse_somebody_elses(checkpoint)
        state = _state(model, optimizer, ema)
        # A parameter without a gradient so far, as where every step was skipped, has no state yet,
        # and none is saved.
        saved = FileSystemReader(checkpoint / "state").read_metadata().state_dict_metadata
        older = {name: old for name, old in open_clip_names(state["model"]).items()
                 if f"model.{old}" in saved}
        files: State = _renamed(to_files(state, model), older)
        moments = files["optimizer"]["state"]
        without = [name for name in moments
                   if not any(key.startswith(f"optimizer.state.{name}.") for key in saved)]
        fresh = {name: moments.pop(name) for name in without}
        load(files, checkpoint_id=checkpoint / "state", no_dist=self.ranks.world == 1)
        moments.update(fresh)
        files = _renamed(files, {old: name for name, old in older.items()})
        loaded: State = from_files(files, state, model)
        model.load_state_dict(loaded["model"])
        torch_state_dict.set_optimizer_state_dict(model, optimizer, loaded["optimizer"])
        for name, value in model.named_parameters():
            if older.get(name, name) in fresh:
                optimizer.state.pop(value, None)
        if ema is not None:
            ema.load(loaded["ema"])
        counters = (checkpoint / "counters.json").read_text(encoding="utf-8")
        return Counters(**json.loads(counters))


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> State:
    of_optimizer = torch_state_dict.get_optimizer_state_dict(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": of_optimizer}
    return state if ema is None else {**state, "ema": ema.values}


def _renamed(state: Any, names: Mapping[str, str]) -> Any:
    """Nested mappings and lists with parameters under other names, as keys and as values."""
    if isinstance(state, dict):
        return {names.get(key, key): _renamed(value, names) for key, value in state.items()}
    if isinstance(state, list):
        return [_renamed(value, names) for value in state]
    return names.get(state, state) if isinstance(state, str) else state


def _copied(state: State) -> State:
    """The nested mapping with its tensors copied to the CPU."""
    copies: State = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            copies[name] = value.detach().to("cpu", copy=True)
        else:
            copies[name] = _copied(value) if isinstance(value, dict) else copy.deepcopy(value)
    return copies
