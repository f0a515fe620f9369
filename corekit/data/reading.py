"""What each process reads just now, so that a wait can be explained."""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from corekit.errors import CorekitError
from corekit.stalls import ENDS_AFTER, stall_seconds, stalls

T = TypeVar("T")


class Reading(ctypes.Structure):
    """A process and the file that it reads, in memory that others may share."""

    _fields_ = (("process", ctypes.c_int), ("since", ctypes.c_double),
                ("name", ctypes.c_char * 240))

    def __str__(self) -> str:
        """The end of a sentence about this process."""
        name = bytes(self.name).decode("utf-8", "replace")
        doing = (f"reads {name} for {time.monotonic() - self.since:.0f} s" if name
                 else "reads nothing just now: it works on samples, or it is stopped")
        return f"process {self.process}, which {doing}"


_shown: list[Reading] = []  # where this process shows what it reads, if anywhere


def show_in(place: Reading, process: int) -> None:
    """Show from now on what this process reads."""
    place.process = process
    _shown[:] = [place]


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Around reading a file."""
    for place in _shown:
        place.since, place.name = time.monotonic(), name.encode("utf-8", "replace")[:239]
    try:
        yield
    finally:
        for place in _shown:
            place.name = b""


def answered(action: Callable[[], T], what: str, ends: bool) -> T:
    """The result of an action, with a sentence where it takes longer than ``stall_seconds``.

    It runs in a thread that is left alone when nothing comes of it: no driver of remote storage is
    sure to return.

    Args:
        action: reads something.
        what: the file, named in the sentence.
        ends: after ``ENDS_AFTER`` such silences it is a CorekitError.
    """
    outcome: list[T | BaseException] = []

    def run() -> None:
        try:
            outcome.append(action())
        except BaseException as error:  # raised by the caller
            outcome.append(error)

    thread, seconds, silences = threading.Thread(target=run, daemon=True), stall_seconds(), 0
    thread.start()
    with reading(what):
        while True:
            thread.join(seconds)
            if not thread.is_alive():
                break
            silences += 1
            text = f"{what} has not answered for {silences * seconds:.0f} s"
            if ends and silences >= ENDS_AFTER:
                raise CorekitError(f"{text}: look at that storage and at the way to it, then type "
                                   "the same command again")
            if not _shown:  # else the process that waits for this one tells
                stalls.warning(f"{text}: still waiting")
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result
