"""Peak memory of work done in a process of its own: what the scripts here that measure memory have
in common.
"""

import json
import subprocess
import sys
from typing import Any

import torch

from corekit.train.logger import peak_memory


def again(*words: str) -> Any:
    """What this script prints on its last line, as JSON, when it is run once more with these words
    after its own.
    """
    said = subprocess.run([sys.executable, *sys.argv, *words], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return json.loads(said.splitlines()[-1])


def peak(device: str) -> int:
    """Bytes of this process's largest memory so far: resident, or allocated on the GPU."""
    return peak_memory(torch.device(device))
