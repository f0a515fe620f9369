"""A compiled model trains as the same model does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY

# Code generation would take minutes and needs a compiler; what is captured, and where, is the same without it.
PROGRAM = """
from torch import nn
plain = nn.Module.compile
compiled = []
def capture(module):
    compiled.append(module)
    plain(module, backend="aot_eager")
nn.Module.compile = capture
from corekit.cli.train import main
main()
assert len(compiled) == 1, compiled
"""


def test_a_compiled_model_has_the_same_losses(tmp_path: Path) -> None:
    words = ("engine.compile=true", "engine.steps=2", "~evaluators", "engine.micro_batch=32", "engine.batch_size=32")
    losses = {}
    for name, more in (("plain", ["engine.compile=false"]), ("compiled", [])):
        program = "from corekit.cli.train import main\nmain()\n" if more else PROGRAM
        (tmp_path / "train.py").write_text(program)
        done = subprocess.run([sys.executable, "train.py", *TINY, *words, *more, f"run_dir={name}"], cwd=tmp_path,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        losses[name] = [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-4)
