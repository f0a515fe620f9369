"""What several tests share."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from commands import start_ranks

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def corekit_command(command: str, *words: str, folder: Path, ranks: int = 1,
                    timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run corekit-train, corekit-eval or corekit in a folder, on several ranks as torchrun would."""
    with tempfile.TemporaryDirectory() as kept:
        told = Path(kept) / "told"
        processes = start_ranks(command, *words, folder=folder, told=told, ranks=ranks)
        for process in processes:
            process.join(timeout)
            if process.exitcode is None:
                for other in processes:
                    other.kill()
                raise TimeoutError(f"{command} {' '.join(words)}: {told.read_text()}{Path(f'{told}.err').read_text()}")
        errors = [path.read_text() for path in sorted(told.parent.glob("*.err"))]
        return subprocess.CompletedProcess([command, *words], max(process.exitcode for process in processes),
                                           told.read_text(), "".join(errors))


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
