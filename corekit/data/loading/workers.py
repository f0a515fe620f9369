"""Processes that work on data: what a loader's process does first, and work that is spread over
some of them.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

GRACE = 600  # seconds that a data process goes on after SIGTERM

T = TypeVar("T")


def outlive_signals() -> None:
    """In a data process: a scheduler signals every process of a job, and training needs data until
    its step is done.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def end_with_parent() -> None:
    """In a process of a pool: end when the one that started it has been killed; it would wait for
    work for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def in_processes(function: Callable[..., T], jobs: Sequence[tuple[Any, ...]],
                 workers: int) -> Iterator[T]:
    """``function(*job)`` of every job, each as soon as it is there and in no set order; an error
    ends all.

    Args:
        function: top-level, so that another process can import it.
        jobs: the arguments.
        workers: processes; 0 and 1: this one.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from (function(*job) for job in jobs)
        return
    # Not forked: the parent may have threads (torch, a progress bar) that a fork would freeze.
    with ProcessPoolExecutor(min(workers,
                                 len(jobs)), mp_context=multiprocessing.get_context("spawn"),
                             initializer=end_with_parent) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
