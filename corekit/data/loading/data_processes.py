"""The processes of a loader."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from ctypes import Array, c_byte
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from multiprocessing.util import Finalize
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from corekit.constants import ENDS_AFTER, stall_seconds, stalls
from corekit.data.loading.workers import end_with_parent
from corekit.data.reading import Reading, show_in
from corekit.errors import CorekitError

LOOK = 2.0  # seconds after which a wait for data looks whether a data process was killed
T = TypeVar("T")


class DataProcesses(Generic[T]):
    """The items of a dataset, made in order by data processes that end when this does.

    A data process ends within a second of the process that started it, however that ends, and of
    ``close``. Signals do not end it: a scheduler sends them to every process of a job, and
    training needs data until its step is done.

    Args:
        dataset: its items, as one of several workers makes them.
        workers: processes; 0: this one.
        prefetch: items of each worker that are made ahead.

    Raises:
        CorekitError: from ``next``, a data process was killed.
    """

    def __init__(self, dataset: IterableDataset[T], workers: int, prefetch: int = 2) -> None:
        ended = RawValue(c_byte, 0)
        self.readings = RawArray(Reading, max(1, workers))
        self.workers, self.taken = workers, 0
        loader: DataLoader[T] = DataLoader(
            dataset, batch_size=None, num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            worker_init_fn=partial(_stay, ended, self.readings),
            timeout=LOOK if workers else 0,
            generator=torch.Generator())  # its own, or it would draw from everybody's
        before = signal.getsignal(signal.SIGCHLD)
        others = multiprocessing.active_children()
        self._items = iter(loader)
        own = [process for process in multiprocessing.active_children() if process not in others]
        # when nobody has it any more, or else before multiprocessing waits for its processes
        self.close = Finalize(self, _end, [ended, own], exitpriority=1)
        if workers and threading.current_thread() is threading.main_thread():
            # torch's handler would raise in the middle of a step; `next` notices as well
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)

    def __iter__(self) -> "DataProcesses[T]":
        return self

    def __next__(self) -> T:
        began, silences, seconds = time.monotonic(), 0, stall_seconds()
        while True:
            try:
                item: T = next(self._items)
            except RuntimeError as error:
                _raise_unless_late(error)
            else:
                self.taken += 1
                return item
            waited = time.monotonic() - began
            if waited >= (silences + 1) * seconds:
                silences += 1
                number = self.taken % self.workers  # they take turns
                text = (f"no batch for {waited:.0f} s: waiting for data worker {number} of "
                        f"{self.workers}, {self.readings[number]}")
                if silences >= ENDS_AFTER:
                    raise CorekitError(f"{text}. The last checkpoint stands; the same command goes "
                                       "on from it")
                stalls.warning(text)


def _raise_unless_late(error: RuntimeError) -> None:
    """Raise what a loader raises, as a sentence where it can be one; nothing came in time: go on.
    """
    if str(error).startswith("DataLoader timed out"):
        return
    if not str(error).startswith("DataLoader worker"):
        raise error
    raise CorekitError("a data process ended before its time, as the system kills one where "
                       f"memory is short ({str(error).splitlines()[0]}): lower data.workers or "
                       "data.window, and start again") from None


def _end(ended: c_byte, processes: Sequence[BaseProcess]) -> None:
    """End data processes, also such as are stopped or stuck."""
    ended.value = 1
    for process in processes:
        process.kill()


def _stay(ended: c_byte, readings: "Array[Reading]", worker: int) -> None:
    """Keep a data process alive until its work is ended, whatever signals come."""
    show_in(readings[worker], os.getpid())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(lambda: bool(ended.value))
