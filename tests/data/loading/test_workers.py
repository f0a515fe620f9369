"""Processes that do jobs: whatever ends one of them ends all, at once and in a sentence."""

import errno
import os
import signal
import time

import pytest

from corekit.data.loading import workers
from corekit.data.loading.workers import in_processes
from corekit.errors import CorekitError

SOON = 10.0  # seconds


def test_one_that_is_killed_is_told_in_a_sentence() -> None:
    with pytest.raises(CorekitError, match=r"one of 2 processes .* memory is short: lower"):
        list(in_processes(os._exit, [(1,), (1,)], 2))


def test_an_error_of_one_does_not_wait_for_the_others() -> None:
    began = time.monotonic()
    with pytest.raises(TypeError):
        list(in_processes(time.sleep, [("no number",), (60,)], 2))
    assert time.monotonic() - began < SOON


def test_they_get_no_interrupts_which_are_for_the_one_that_started_them() -> None:
    blocked = in_processes(signal.pthread_sigmask, [(signal.SIG_BLOCK, ())] * 2, 2)
    assert all(signal.SIGINT in signals for signals in blocked)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_too_little_shared_memory_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers, "ProcessPoolExecutor", full)
    with pytest.raises(CorekitError, match=r"/dev/shm, is full.*one process"):
        list(in_processes(time.sleep, [(0,), (0,)], 2))
