"""How long corekit waits in silence for data, for a server, or for another rank."""

import logging
import os

from corekit.errors import CorekitError

VARIABLE = "COREKIT_STALL_SECONDS"
ENDS_AFTER = 15  # silences, one after another, end a command: by default five minutes
stalls = logging.getLogger("corekit.stalls")  # the first rank shows what any of them logs here


def stall_seconds() -> float:
    """Seconds without an answer that are worth a sentence: ``COREKIT_STALL_SECONDS``, else 20.

    Raises:
        CorekitError: the variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "20")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise CorekitError(f"{VARIABLE}={text} is no number of seconds above 0")
    return seconds
