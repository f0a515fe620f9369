"""Requests from outside a run: a checkpoint by the clock, and the end by a signal.

The signals are SIGTERM, SIGUSR1, and SIGHUP, where nohup has not asked for it to be ignored. A
second SIGTERM ends the process at once.
"""

import math
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from corekit.distributed.process_group import ProcessGroup

TWICE = 1.0  # seconds within which a launcher and a scheduler may send the same SIGTERM
Handler = Callable[[int, FrameType | None], object] | int | None


class StopSignals:
    """Notes the requests to this rank; they travel to all ranks with the next step's losses.

    Use it as a context: it catches the signals while it lasts. Of the clocks that ask for a
    checkpoint every so many minutes, the first rank's counts.
    """

    def __init__(self, every_minutes: float | None, group: ProcessGroup) -> None:
        self.seconds = None if every_minutes is None or not group.is_first else 60 * every_minutes
        self.last_save = time.monotonic()
        self.stop = False
        self.first_term = math.inf  # when the first SIGTERM came
        self.handlers_before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> "StopSignals":
        # SIGUSR1 is what SLURM is commonly told to send some minutes before a job's time is up
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_IGN:
                continue
            self.handlers_before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.stop = True
        if number != signal.SIGTERM:
            return
        now = time.monotonic()
        if now - self.first_term > TWICE:
            # a message of the log could be in the middle of another
            os.write(2, b"corekit: a second SIGTERM ends the run at once; "
                        b"the last whole checkpoint stands\n")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.first_term = min(self.first_term, now)

    def requests(self) -> list[float]:
        """[a checkpoint, the end] as this rank requests them: 0 or 1 each."""
        due = self.seconds is not None and time.monotonic() - self.last_save >= self.seconds
        return [float(due or self.stop), float(self.stop)]

    def saved(self) -> None:
        """Start the minutes anew: a checkpoint was written."""
        self.last_save = time.monotonic()
