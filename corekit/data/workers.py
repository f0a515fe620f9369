"""What every data process does first."""

import signal

GRACE = 600  # seconds that a data process goes on after SIGTERM


def outlive_signals() -> None:
    """In a data process: a scheduler signals every process of a job, and training needs data until its step is done."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
