"""Peak memory of work done in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from corekit.train.logger import peak_memory


def again(*words: str) -> Any:
    """The last line of output, as JSON, of this script run once more with words added."""
    printed = subprocess.run([sys.executable, *sys.argv, *words], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    return json.loads(printed.splitlines()[-1])


def peak(device: str, step: Callable[[], object] | None = None) -> int:
    """Bytes of this process's largest memory so far, after two training steps if given.

    It is what is resident, or allocated on the GPU.
    """
    for _ in range(2 if step else 0):  # the optimizer's moments are there from the first on
        step()  # type: ignore[misc]
    return peak_memory(torch.device(device))
