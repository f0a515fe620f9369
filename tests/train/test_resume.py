"""A killed run goes on as if nothing had happened, also on other ranks; the full check is
tools/check_resume.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_resume.py"


def check(words: str) -> "subprocess.CompletedProcess[str]":
    """The tool's verdict: its exit status is 0 where all losses are as they should be."""
    return subprocess.run(
        [sys.executable, str(TOOL), "--kills", "1", *words.split()], capture_output=True, text=True,
        timeout=400)


@pytest.mark.parametrize("words", ["--ranks 1 --kills 2", "--ranks 3",
                                   "--run detector --ranks 2",
                                   "--run conversations --ranks 2 --parallel fsdp"])
def test_losses_after_kills_are_the_same(words: str) -> None:
    done = check(words)
    assert done.returncode == 0, done.stdout + done.stderr
