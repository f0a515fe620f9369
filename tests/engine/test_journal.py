"""What the engine writes of a run."""

import subprocess
import sys

PEAK = "import torch; from corekit.engine.journal import peak_memory; print(peak_memory(torch.device('cpu')))"
HELD = f"import torch; held = bytearray(b'1') * (300 << 20); {PEAK}"


def peak(program: str) -> int:
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def test_peak_memory_is_the_process_own() -> None:
    alone = peak(PEAK)
    ballast = bytearray(b"1") * (alone + (200 << 20))  # a process starts with what its parent had, as getrusage counts it
    beside = peak(PEAK)
    del ballast
    assert abs(beside - alone) < 100 << 20
    assert peak(HELD) - alone > 250 << 20
