"""Messages of a command: corekit's log, and one sentence about an error that a user can mend."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator

from corekit.errors import CorekitError
from corekit.printable import printable


@contextlib.contextmanager
def sentences(foreign: tuple[type[Exception], ...] = (),
              explain: Callable[[Exception], str] = str) -> Iterator[None]:
    """Print a user's error and exit with status 2; COREKIT_TRACEBACK=1 adds the traceback.

    A user can also cause ``foreign`` errors of other libraries, each a sentence by ``explain``.
    """
    configure_logging()
    try:
        yield
    except CorekitError as error:
        _fail(str(error))
    except foreign as error:
        _fail(explain(error))
    except BrokenPipeError:  # as in `corekit list recipes | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a place that cannot be written or read, such as a file as OUT
        if error.filename is None:
            raise
        _fail(f"{printable(str(error.filename))}: {error.strerror}")
    except KeyboardInterrupt:
        print("\ncorekit: interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(sentence: str) -> None:
    if os.environ.get("COREKIT_TRACEBACK"):
        raise
    print(f"corekit: {sentence}", file=sys.stderr)
    sys.exit(2)


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
    """Show the log on the console, once in a process.

    Of several ranks only the first one does, others write to files. Other libraries' logs are shown
    from errors on.
    """
    logging.getLogger().setLevel(logging.ERROR)
    logger = logging.getLogger("corekit")
    logger.setLevel(logging.INFO)
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    if rank == "0" and not any(isinstance(handler, _Console) for handler in logger.handlers):
        logger.addHandler(_Console())
