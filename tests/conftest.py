"""What several tests share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def corekit_command(command: str, *words: str, folder: Path, ranks: int = 1,
                    timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run corekit-train, corekit-eval or corekit in a folder, under torchrun for several ranks."""
    module = {"corekit-train": "train", "corekit-eval": "evaluate", "corekit": "main"}[command]
    launcher = [] if ranks == 1 else ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks),
                                      "--master_port", str(free_port())]
    program = folder / f"run_{module}.py"
    program.write_text(f"from corekit.cli.{module} import main\nif __name__ == '__main__':\n    main()\n")
    # One thread a process whatever the launcher, so that runs with other numbers of ranks compare.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *launcher, str(program), *words], cwd=folder, capture_output=True, text=True,
                          timeout=timeout, env=environment)


TINY = (  # the quickstart, so small that a step takes a tenth of a second
    "+recipe=mobileclip/quickstart", "engine.batch_size=32", "engine.micro_batch=8", "data.lanes=8", "data.window=8",
    "data.dataset.samples=96", "data.dataset.concepts=10", "data.workers=0", "schedule.warmup_steps=1",
    "log.every_steps=1", "checkpoint.every_steps=2", "evaluators.zero_shot.dataset.samples=40",
    "evaluators.zero_shot.dataset.concepts=10", "evaluators.zero_shot.every_steps=null", "engine.steps=4",
    "run_dir=run",
)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that reached its end: the folder it was started in; the run directory is ``run`` below it."""
    folder = tmp_path_factory.mktemp("finished")
    done = corekit_command("corekit-train", *TINY, folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder
