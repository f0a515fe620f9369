"""What a run reports: records of its figures, TensorBoard, log files, and lines for people."""

import logging
import math
import re
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich import progress
from torch.utils.tensorboard import SummaryWriter

from corekit.distributed.process_group import ProcessGroup
from corekit.evaluation.base import Result, write_files
from corekit.files import remove
from corekit.printable import PrintableFormatter
from corekit.records import Record, append_record, cut_back

log = logging.getLogger(__name__)

REPORT = "report.jsonl"
STEP = "step_"  # before the number of a step in names
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bf16 FLOPs a second


class _LogFile(logging.FileHandler):
    """A log file whose errors, such as a full disk, end the run as any others do."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise  # called while an error is handled


class RunLogger:
    """Writes one run's records and keeps its log; ranks other than the first only do the latter.

    All that is logged under ``corekit`` goes to the rank's log file while the run lasts.

    Args:
        run: the run directory.
        ranks: who this process is.
        steps: of the whole run, for the progress bar.
        done, samples: already seen; records of later steps, from a killed run, are cut away.
        flops: of the forward and backward pass of one sample; None: unknown.
    """

    def __init__(self, run: Path, ranks: ProcessGroup, steps: int, done: int, samples: int,
                 flops: float | None = None) -> None:
        self.run, self.ranks, self.steps, self.done, self.flops = run, ranks, steps, done, flops
        name = "log.txt" if ranks.is_first else f"log_rank{ranks.rank}.txt"
        self.file = _LogFile(run / name, encoding="utf-8")
        self.file.setFormatter(PrintableFormatter())
        logger = logging.getLogger("corekit")
        logger.addHandler(self.file)
        self.level = logger.level
        if not logger.isEnabledFor(logging.INFO):  # used as a library, which nothing has configured
            logger.setLevel(logging.INFO)
        self.waited = 0.0
        self.began = self.last = time.perf_counter()
        self.samples_at_last = samples
        self.board: SummaryWriter | None = None
        self.progress: progress.Progress | None = None
        if ranks.is_first:
            for name in ("metrics.jsonl", "evaluations.jsonl", REPORT):
                cut_back(run / name, done)
            self.board = SummaryWriter(str(run / "tensorboard"),
                                       purge_step=done + 1 if done else None)
            if sys.stdout.isatty():
                self.progress = progress.Progress(
                    progress.TextColumn("{task.description}"), progress.BarColumn(),
                    progress.MofNCompleteColumn(), progress.TextColumn("steps"),
                    progress.TimeElapsedColumn(), progress.TextColumn("ETA"),
                    progress.TimeRemainingColumn())
                self.progress.start()
                self.task = self.progress.add_task("training", total=steps, completed=done)

    def say(self, text: str) -> None:
        """Log a line for people."""
        log.info("%s", text)

    def symptom(self, step: int, name: str, sentence: str) -> None:
        """Warn of a sign that the run cannot learn."""
        log.warning("%s", sentence)
        self.report({"step": step, "symptom": name, "sentence": sentence})

    def report(self, record: Mapping[str, object]) -> None:
        """Record what was seen of a run, or how it ended; on the first rank only."""
        if self.ranks.is_first:
            append_record(self.run / REPORT, record)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around waiting for data."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is no training (evaluations, checkpoints): left out of samples a second."""
        began = time.perf_counter()
        yield
        self.last += time.perf_counter() - began

    def advance(self, step: int) -> None:
        """A step is done."""
        if self.progress:
            self.progress.update(self.task, completed=step)

    def metrics(self, step: int, samples: int, losses: dict[str, float],
                learning_rate: float) -> None:
        """The line of a logged step."""
        now = time.perf_counter()
        elapsed = max(now - self.last, 1e-9)
        rate = (samples - self.samples_at_last) / elapsed
        record: Record = {
            "step": step, "samples": samples,
            # JSON has no NaN
            **{name: value if math.isfinite(value) else None for name, value in losses.items()},
            "learning_rate": learning_rate, "samples_per_second": round(rate, 2),
            "data_wait": round(min(1.0, self.waited / elapsed), 4),
            "peak_memory": peak_memory(self.ranks.device)}
        utilisation = self._mfu(rate)
        if utilisation is not None:
            record["mfu"] = round(utilisation, 4)
        self.last, self.waited, self.samples_at_last = now, 0.0, samples
        if self.ranks.is_first:
            append_record(self.run / "metrics.jsonl", record)
            self._scalars("train", {name: value for name, value in record.items()
                                    if name not in ("step", "samples") and value is not None}, step)
        seconds_left = (self.steps - step) * (now - self.began) / max(1, step - self.done)
        self.say(_metrics_line(f"step {step}/{self.steps}", losses, record, clock(seconds_left)))

    def _scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Figures for TensorBoard; on the first rank only."""
        assert self.board is not None
        for name, value in values.items():
            self.board.add_scalar(f"{group}/{name}", value, step)  # type: ignore[no-untyped-call]

    def _mfu(self, rate: float) -> float | None:
        """The share of the GPUs' dense bf16 peak in use; None where no peak is known."""
        if self.flops is None or self.ranks.device.type != "cuda":
            return None
        name = torch.cuda.get_device_name(self.ranks.device)
        peak = next((peak for part, peak in PEAKS.items() if part in name), None)
        return None if peak is None else rate * self.flops / (peak * self.ranks.world)

    def evaluation(self, step: int, samples: int, label: str, result: Result,
                   problem: str | None = None) -> None:
        """The line of an evaluation; a failed one is no candidate for the best."""
        if self.ranks.is_first:
            record = result.record(step, samples, label)
            if result.files:
                record["files"] = self._write_files(step, label, result)
            append_record(self.run / "evaluations.jsonl",
                          record if problem is None else {**record, "failed": problem})
            self._scalars(label, result.metrics, step)
            for title, picture in result.pictures.items():
                self.picture(f"{label}/{title}", picture, step)
        self.say(f"step {step}  {label} on {result}")
        if problem is not None:
            log.warning(problem)

    def _write_files(self, step: int, label: str, result: Result) -> str:
        """Write the files of an evaluation and remove those of steps before; where they are."""
        name = f"evaluations/{label}/{STEP}{step:08d}"
        write_files(self.run / name, result.files)
        for folder in (self.run / name).parent.iterdir():
            # a copy that somebody made has another name
            if re.fullmatch(rf"{STEP}\d{{8}}", folder.name) and folder != self.run / name:
                remove(folder)
        return name

    def picture(self, title: str, image: NDArray[np.uint8] | None, step: int) -> None:
        """A picture for TensorBoard, uint8 [H, W, 3], if there is one."""
        if image is not None and (board := self.board) is not None:
            board.add_image(title, image, step, dataformats="HWC")  # type: ignore[no-untyped-call]
            board.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Flush and close everything."""
        if self.progress:
            self.progress.stop()
        if self.board is not None:
            self.board.close()  # type: ignore[no-untyped-call]
        logger = logging.getLogger("corekit")
        logger.removeHandler(self.file)
        logger.setLevel(self.level)
        self.file.close()


def _metrics_line(step: str, losses: Mapping[str, float], record: Record, time_left: str) -> str:
    """The figures of a logged step as people read them."""
    parts = [step, "  ".join(f"{name} {value:.4f}" for name, value in losses.items()),
             f"lr {record['learning_rate']:.2e}", f"{record['samples_per_second']:.0f} samples/s",
             f"data wait {record['data_wait']:.0%}",
             f"memory {record['peak_memory'] / 2**30:.1f} GB"]
    if "mfu" in record:
        parts.append(f"mfu {record['mfu']:.1%}")
    return "  ".join([*parts, f"ETA {time_left}"])


def clock(seconds: float) -> str:
    """h:mm:ss."""
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's peak allocation, or this process's peak resident memory elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # ru_maxrss begins with what the process had that started this one
    status = Path("/proc/self/status")
    if status.is_file() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match.group(1)) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
