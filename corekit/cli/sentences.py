"""Messages of a command: corekit's log, and one sentence about an error that a user can mend."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from corekit.errors import CorekitError
from corekit.printable import PrintableFormatter, printable


@contextlib.contextmanager
def sentences(foreign: tuple[type[Exception], ...] = (),
              explain: Callable[[Exception], str] = str, alike: bool = False) -> Iterator[None]:
    """Print a user's error and exit with status 2; COREKIT_TRACEBACK=1 adds the traceback.

    Args:
        foreign: errors of other libraries that a user can cause as well.
        explain: makes a sentence of one of them.
        alike: every rank has the same error, which one of each machine tells.
    """
    configure_logging()
    wait_passively()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except CorekitError as error:
        _fail(str(error), alike)
    except foreign as error:
        _fail(explain(error), alike)
    except BrokenPipeError:  # as in `corekit list recipes | head -3`
        _give_up("stdout")
    except OSError as error:  # a place that cannot be written or read, such as a file as OUT
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror} (COREKIT_TRACEBACK=1 shows who asked for it)",
              alike)
    except KeyboardInterrupt:
        print("\ncorekit: interrupted", file=sys.stderr)
        sys.exit(130)


def _interrupt(_: int, __: FrameType | None) -> None:
    """Interrupt; a second one ends the process at once, whatever it still waits for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def wait_passively() -> None:
    """Let OpenMP's waiting threads sleep, where the user says nothing else; before torch's import.

    They spin otherwise, and keep a core from the thread that all wait for: beside two other
    processes on two cores a step takes 4 times as long so, alone as long (tools/benchmark_busy.py).
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _fail(sentence: str, alike: bool) -> None:
    if os.environ.get("COREKIT_TRACEBACK"):
        raise
    local_rank = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
    if not alike or local_rank == "0":
        print(f"corekit: {printable(sentence)}", file=sys.stderr)
    sys.exit(2)


def _give_up(name: str) -> None:
    """Let what goes to a stream go nowhere."""
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


class _Console(logging.Handler):
    """Messages on standard output, warnings and worse on standard error.

    The streams are looked up for each message: a progress bar puts itself in their place.
    """

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        try:
            if is_warning:
                print(f"corekit: {self.format(record)}", file=sys.stderr, flush=True)
            else:
                print(self.format(record), flush=True)
        except (OSError, ValueError) as error:  # as in `corekit-train ... | head -3`
            _give_up("stderr" if is_warning else "stdout")
            logging.getLogger(__name__).warning(
                f"standard {'error' if is_warning else 'output'} takes no more ({error}): the work "
                "goes on, and what it has to say goes to its log files alone")


def configure_logging() -> None:
    """Show the log on the console, once in a process.

    Of several ranks only the first one does, others write to files. Other libraries' logs are shown
    from errors on.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            _give_up(name)
    logging.getLogger().setLevel(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch reads it when it is imported
    logger = logging.getLogger("corekit")
    logger.setLevel(logging.INFO)
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    if rank == "0" and not any(isinstance(handler, _Console) for handler in logger.handlers):
        console = _Console()
        console.setFormatter(PrintableFormatter())
        logger.addHandler(console)
