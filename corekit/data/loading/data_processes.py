"""The processes of a loader."""

import errno
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from ctypes import Array, c_byte
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import RawArray, RawValue
from multiprocessing.util import Finalize
from typing import Generic, NoReturn, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from corekit.data.loading.workers import KILLED, NO_SHARED_MEMORY, end_with_parent
from corekit.data.reading import Reading, show_in
from corekit.errors import CorekitError
from corekit.stalls import ENDS_AFTER, stall_seconds, stalls

LOOK = 1.0  # seconds after which a wait for data looks whether a data process was killed
LOST = 86  # exit status of a data process that cannot hand its data over
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
        CorekitError: shared memory is full; from ``next``, a data process was killed.
    """

    def __init__(self, dataset: IterableDataset[T], workers: int, prefetch: int = 2) -> None:
        try:
            self._start(dataset, workers, prefetch)
        except OSError as error:  # semaphores are there, too
            if error.errno != errno.ENOSPC:
                raise
            # what torch asks when it removes the half-made one
            _MultiProcessingDataLoaderIter._shutdown = True  # type: ignore[attr-defined]
            raise _no_shared_memory() from None

    def _start(self, dataset: IterableDataset[T], workers: int, prefetch: int) -> None:
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
        self.own = [process for process in multiprocessing.active_children()
                    if process not in others]
        # when nobody has it any more, or else before multiprocessing waits for its processes
        self.close = Finalize(self, _end, [ended, self.own], exitpriority=1)
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
                self._raise_unless_late(error)
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

    def _raise_unless_late(self, error: RuntimeError) -> None:
        """Raise what a loader raises, as a sentence where it can be one; nothing came: go on."""
        if str(error).startswith("DataLoader timed out"):
            return
        if not str(error).startswith("DataLoader worker"):
            raise error
        if any(process.exitcode in (LOST, -signal.SIGBUS) for process in self.own):
            raise _no_shared_memory() from None
        raise CorekitError(f"a data process {KILLED} ({str(error).splitlines()[0]}): lower "
                           "data.workers or data.window, and start again") from None


def _no_shared_memory() -> CorekitError:
    return CorekitError(f"{NO_SHARED_MEMORY}, or lower data.workers, 0 of which need none")


def _end(ended: c_byte, processes: Sequence[BaseProcess]) -> None:
    """End data processes, also such as are stopped or stuck."""
    ended.value = 1
    for process in processes:
        process.kill()


def _stay(ended: c_byte, readings: "Array[Reading]", worker: int) -> None:
    """Keep a data process alive until its work is ended, whatever signals come."""
    show_in(readings[worker], os.getpid())
    Queue._on_queue_feeder_error = staticmethod(_lose)  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(lambda: bool(ended.value))


def _lose(error: Exception, _: object) -> NoReturn:
    """End a data process whose data cannot be sent, which would be waited for otherwise."""
    if "shared memory" not in str(error) and "No space left" not in str(error):
        traceback.print_exception(error)
        os._exit(1)
    os._exit(LOST)
