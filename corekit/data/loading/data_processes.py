"""The processes of a loader."""

import signal
import threading
from ctypes import c_byte
from functools import partial
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from corekit.data.loading.workers import end_with_parent
from corekit.errors import CorekitError

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
        # when nobody has it any more, or else before multiprocessing waits for its processes
        self.close = Finalize(self, setattr, [ended, "value", 1], exitpriority=1)
        loader: DataLoader[T] = DataLoader(
            dataset, batch_size=None, num_workers=workers,
            prefetch_factor=prefetch if workers else None, worker_init_fn=partial(_stay, ended),
            generator=torch.Generator())  # its own, or it would draw from everybody's
        before = signal.getsignal(signal.SIGCHLD)
        self._items = iter(loader)
        if workers and threading.current_thread() is threading.main_thread():
            # torch's handler would raise in the middle of a step; `next` notices as well
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)

    def __iter__(self) -> "DataProcesses[T]":
        return self

    def __next__(self) -> T:
        try:
            item: T = next(self._items)
            return item
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise CorekitError("a data process ended before its time, as the system kills one "
                               f"where memory is short ({str(error).splitlines()[0]}): lower "
                               "data.workers or data.window, and start again") from None


def _stay(ended: c_byte, worker: int) -> None:
    """Keep a data process alive until its work is ended, whatever signals come."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(lambda: bool(ended.value))
