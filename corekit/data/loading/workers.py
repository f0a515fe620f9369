"""Processes that work on data, and end when the process that started them does."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import TypeVar

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that comes when the parent has ended
LOOK = 0.25  # seconds after which a data process looks again whether it is still wanted

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
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from (function(*job) for job in jobs)
        return
    # Not forked: the parent may have threads (torch, a progress bar) that a fork would freeze.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, end_with_parent) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
