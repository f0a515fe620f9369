"""What the trainer writes of a run."""

import subprocess
import sys

PEAKS = """
import torch
from corekit.train.logger import peak_memory
before = peak_memory(torch.device("cpu"))
held = bytearray(b"1") * (300 << 20)
print(before, peak_memory(torch.device("cpu")))
"""


def peaks() -> tuple[int, ...]:
    """Of a process before and after it takes 300 MB."""
    output = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True,
                            check=True).stdout
    return tuple(map(int, output.split()))


def test_peak_memory_is_the_process_own() -> None:
    alone, held = peaks()
    assert held - alone > 250 << 20
    # a process starts with what its parent had, as getrusage counts it
    ballast = bytearray(b"1") * (alone + (200 << 20))
    beside, _ = peaks()
    del ballast
    assert abs(beside - alone) < 100 << 20
