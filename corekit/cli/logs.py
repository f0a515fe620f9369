"""What a command shows of corekit's log: its first process alone, other ranks write to files."""

import logging
import os
import sys


class _Console(logging.Handler):
    """Messages on standard output, warnings and worse on standard error.

    The streams are looked up for each message: a progress bar puts itself in their place.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(f"corekit: {record.getMessage()}", file=sys.stderr, flush=True)
        else:
            print(record.getMessage(), flush=True)


def configure_logging() -> None:
    """Show the log on the console, once in a process; of several ranks only the first one does.

    Other libraries' logs are shown from errors on.
    """
    logging.getLogger().setLevel(logging.ERROR)
    logger = logging.getLogger("corekit")
    logger.setLevel(logging.INFO)
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    if rank == "0" and not any(isinstance(handler, _Console) for handler in logger.handlers):
        logger.addHandler(_Console())
