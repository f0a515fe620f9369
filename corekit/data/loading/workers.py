"""Processes that work on data, and end when the process that started them does."""

import contextlib
import ctypes
import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext
from typing import TypeVar

from corekit.errors import CorekitError

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that comes when the parent has ended
LOOK = 0.25  # seconds after which a data process looks again whether it is still wanted
KILLED = "ended before its time, as the system kills one where memory is short"
NO_SHARED_MEMORY = ("the shared memory of this machine, /dev/shm, is full, in which processes hand "
                    "data to each other: enlarge it, as with `docker run --shm-size=8g`")

T = TypeVar("T")


def end_with_parent(unwanted: Callable[[], bool] = lambda: False) -> None:
    """End this process with the one that started it, or when it is not wanted any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":  # also where this process hangs and runs no Python any more
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def look() -> None:
        while not unwanted() and not wait([parent.sentinel], LOOK):
            pass
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()


def in_processes(function: Callable[..., T], jobs: Sequence[tuple[object, ...]],
                 workers: int) -> Iterator[T]:
    """``function(*job)`` of every job, in the order they finish; an error ends all.

    The function is a top-level one, so that other processes can import it. With 0 or 1 workers this
    process does the work.

    Raises:
        CorekitError: a process was killed, or there is no shared memory for them.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from (function(*job) for job in jobs)
        return
    # Not forked: the parent may have threads (torch, a progress bar) that a fork would freeze.
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with _pool(min(workers, len(jobs)), context) as pool:
        try:
            with _no_interrupts():
                futures = [pool.submit(function, *job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()  # a job may take long
            if isinstance(error, BrokenProcessPool):
                raise CorekitError(f"one of {workers} processes {KILLED}: lower the number of "
                                   "workers, and type the same command again") from None
            raise


def _pool(workers: int, context: SpawnContext) -> ProcessPoolExecutor:
    try:
        return ProcessPoolExecutor(workers, context, end_with_parent)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise CorekitError(f"{NO_SHARED_MEMORY}, or work with one process") from None


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Hold interrupts back; processes that are started here get none, as their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
