"""Values that several rooms share, and how long corekit waits in silence."""

import logging
import os

from corekit.errors import CorekitError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the red, green and blue of CLIP's images
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

IMAGE_EXTENSIONS = "jpg;jpeg;png;webp"  # of members and files that hold a picture
SHARDS = "**/*.tar"  # the pattern of shards' names where none is given
TABLES = (".csv", ".tsv", ".parquet")  # how lists of files end

WRITING = ".writing"  # the suffix of files and folders that are not complete yet

STALL_VARIABLE = "COREKIT_STALL_SECONDS"
ENDS_AFTER = 15  # silences, one after another, end a command: by default five minutes
stalls = logging.getLogger("corekit.stalls")  # the first rank shows what any of them logs here


def stall_seconds() -> float:
    """Seconds without an answer that are worth a sentence: ``COREKIT_STALL_SECONDS``, else 20.

    Raises:
        CorekitError: the variable is no positive number.
    """
    text = os.environ.get(STALL_VARIABLE, "20")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise CorekitError(f"{STALL_VARIABLE}={text} is no number of seconds above 0")
    return seconds
