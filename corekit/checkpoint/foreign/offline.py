"""What holds while another library loads a model: nothing is downloaded, and its log is its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading(hub: bool = False) -> Iterator[None]:
    """Let libraries take nothing from the hub that is not in its cache, unless ``hub``."""
    from huggingface_hub import constants

    root, silent, before = logging.getLogger(), logging.NullHandler(), constants.HF_HUB_OFFLINE
    # open_clip logs by the root logger, which else would print all of corekit's log once more
    root.addHandler(silent)
    constants.HF_HUB_OFFLINE = before or not hub
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        root.removeHandler(silent)
