"""What is asked of a run from outside: a checkpoint every so many minutes, and one before the end
on SIGTERM or SIGUSR1.
"""

import signal
import time
from types import FrameType
from typing import Any

from corekit.distributed.process_group import ProcessGroup


class StopSignals:
    """Notes what is asked of this rank, to be told to all of them with the next step's losses.

    Use it as a context: the signals are caught while it lasts.

    Args:
        every_minutes: between two checkpoints; None: not by the clock. Only the first rank's clock
            counts.
        ranks: who this process is.
    """

    def __init__(self, every_minutes: float | None, ranks: ProcessGroup) -> None:
        self.seconds = None if every_minutes is None or not ranks.is_first else 60 * every_minutes
        self.last = time.monotonic()
        self.stop = False
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        # SIGUSR1 is what SLURM is commonly told to send some minutes before a job's time is up
        self.before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, _: int, __: FrameType | None) -> None:
        self.stop = True

    def asks(self) -> list[float]:
        """[a checkpoint, the end] as this rank wants it: 0 or 1 each."""
        due = self.seconds is not None and time.monotonic() - self.last >= self.seconds
        return [float(due or self.stop), float(self.stop)]

    def saved(self) -> None:
        """A checkpoint has been taken."""
        self.last = time.monotonic()
