"""A killed run goes on as if nothing had happened; the full check is tools/check_resume.py."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_resume.py"


@pytest.mark.parametrize("ranks", [1, 3])
def test_losses_after_kills_are_the_same_bits(ranks: int) -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--kills", "2", "--ranks", str(ranks)], capture_output=True,
                          text=True, timeout=400)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
