"""What a user can put right, said in one sentence with exit status 2."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from corekit.cli.logs import configure_logging
from corekit.errors import CorekitError


@contextlib.contextmanager
def sentences(foreign: tuple[type[Exception], ...] = (),
              explain: Callable[[Exception], str] = str) -> Iterator[None]:
    """Print a user's error and exit with status 2; COREKIT_TRACEBACK=1 adds the traceback.

    Args:
        foreign: other libraries' errors that a user can cause.
        explain: says one of those in a sentence.
    """
    configure_logging()
    try:
        yield
    except CorekitError as error:
        _fail(str(error))
    except foreign as error:
        _fail(explain(error))
    # whoever read the output has seen enough, as in `corekit list recipes | head -3`
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("\ncorekit: interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(sentence: str) -> None:
    if os.environ.get("COREKIT_TRACEBACK"):
        raise
    print(f"corekit: {sentence}", file=sys.stderr)
    sys.exit(2)
