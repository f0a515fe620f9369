"""The processes of a loader."""

import atexit
import signal
import threading
from multiprocessing.sharedctypes import RawValue
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from corekit.data.loading.workers import end_when
from corekit.errors import CorekitError

T = TypeVar("T")


class DataProcesses(Generic[T]):
    """The items of a dataset, made in order by data processes that end when this does.

    A data process ends within a second of the process that started it, however that ends, and of
    this context. Signals do not end it: a scheduler sends them to every process of a job, and
    training needs data until its step is done.

    Args:
        dataset: its items, as one of several workers makes them.
        workers: processes; 0: this one.
        prefetch: items of each worker that are made ahead.

    Raises:
        CorekitError: from ``next``, a data process was killed.
    """

    def __init__(self, dataset: IterableDataset[T], workers: int, prefetch: int = 2) -> None:
        self._ended = RawValue("b", 0)
        loader: DataLoader[T] = DataLoader(dataset, batch_size=None, num_workers=workers,
                                           prefetch_factor=prefetch if workers else None,
                                           worker_init_fn=self._stay_while_wanted,
                                           # its own, or it would draw from everybody's
                                           generator=torch.Generator())
        before = signal.getsignal(signal.SIGCHLD)
        atexit.register(self.close)  # before multiprocessing's own, which waits for them
        self._items = iter(loader)
        if workers and threading.current_thread() is threading.main_thread():
            # torch's handler would raise in the middle of a step; `next` notices as well
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)

    def __enter__(self) -> "DataProcesses[T]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the data processes."""
        self._ended.value = 1
        atexit.unregister(self.close)

    def __iter__(self) -> "DataProcesses[T]":
        return self

    def __next__(self) -> T:
        try:
            return next(self._items)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise CorekitError(f"a data process ended before its time, as the system kills one "
                               f"where memory is short ({str(error).splitlines()[0]}): lower "
                               f"data.workers or data.window, and start again") from None

    def _stay_while_wanted(self, worker: int) -> None:
        """What a data process does first."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_when(lambda: bool(self._ended.value))
