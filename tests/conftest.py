"""What several tests share."""

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import start_ranks

from corekit.errors import CorekitError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
NOT_TESTED = "NOT TESTED, for want of "
NO_WORDNET = f"{NOT_TESTED}WordNet: "
LONGEST = tuple(f"tests/{name}" for name in (
    "train/test_resume", "test_recipes", "golden/test_golden_losses",
    "projects/mobileclip/test_mobileclip_convert", "cli/test_train", "train/test_compile",
    "test_wheel", "projects/catlip/test_catlip_chain", "train/test_run_dir",
    "projects/aimv2/test_aimv2_ranks", "cli/test_",
    "projects/mobileclip/test_mobileclip_models", "train/step/test_accumulate", "test_slurm"))
# of each kind the suite runs one member; `sh tools/test.sh --slow` runs all, as CI does
SLOW = re.compile("|".join((
    r"train/test_resume.*(ranks 3|detector|conversations)",
    r"train/test_resume_sharded.*then-ranks",
    r"train/test_compile.*(aimv2|catlip)", r"test_wheel.*(composes_every_recipe|strangers_package)",
    r"cli/test_new.*spawned_workers", r"test_aimv2_ranks.*as_one", r"cli/test_signals.*2-10",
    r"test_chat_targets.*thousand.*(chatml|llama3)",
    r"test_mobileclip_convert.*agree_with_open_clip.*(S2|S3|S4|L-14)",
    # recipes that differ from another one in size, data or numbers alone
    r"test_recipes.*catlip/(\w*(_|\b)[lh](_512)?\b|\w+_512|places365)",
    r"test_recipes.*mobileclip/(s[134]\b|l14\b|mobileclip2_(s[234]|b|l14)|dfndr|b_lt|datacompdr1b)",
    r"test_recipes.*aimv2/(1b|3b|huge|large_\d+|aimv1_[137]b)",
)))


def pytest_configure(config: pytest.Config) -> None:
    """Look for WordNet once, before other processes start, and fetch it where it is not on this
    machine.
    """
    if hasattr(config, "workerinput"):
        return
    from corekit_projects.catlip.wordnet import fetch, open_tagger, open_wordnet

    try:
        open_wordnet()
        open_tagger()
    except CorekitError:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)
        with contextlib.suppress(CorekitError, OSError):
            fetch()
        socket.setdefaulttimeout(before)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run every member of slow kinds of tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that at the end no process waits for another's."""
    if not config.getoption("--slow"):
        slow = [item for item in items if SLOW.search(item.nodeid)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]

    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(LONGEST) if item.nodeid.startswith(name)),
                    len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Indexes that tests need are not left in the user's cache folder."""
    os.environ["COREKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    with _wordnet_or_say_so():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _wordnet_or_say_so():
        return (yield)


@contextlib.contextmanager
def _wordnet_or_say_so() -> Iterator[None]:
    try:
        yield
    except CorekitError as error:
        if "is not on this machine: `corekit data wordnet" not in str(error):
            raise
        pytest.skip(f"{NO_WORDNET}{error}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it where nobody can miss it: a test that did not run has shown nothing."""
    reasons = [
        report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    ]
    missed = [reason.removeprefix("Skipped: ") for reason in reasons if NOT_TESTED in reason]
    if missed:
        terminalreporter.section(f"{len(missed)} TESTS DID NOT RUN", sep="!", red=True, bold=True)
        # one of each kind
        for reason in {reason.split(":")[0]: reason for reason in reversed(missed)}.values():
            terminalreporter.line(reason, red=True)


def corekit_command(command: str, *words: str, folder: Path, ranks: int = 1,
                    timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run corekit-train, corekit-eval or corekit in a folder, on several ranks as torchrun
    would.
    """
    with tempfile.TemporaryDirectory() as output_folder:
        output = Path(output_folder) / "told"
        processes = start_ranks(command, *words, folder=folder, output=output, ranks=ranks)
        for process in processes:
            process.join(timeout)
            if process.exitcode is None:
                for other in processes:
                    other.kill()
                raise TimeoutError(f"{command} {' '.join(words)}: "
                                   f"{output.read_text()}{Path(f'{output}.err').read_text()}")
        errors = [path.read_text() for path in sorted(output.parent.glob("*.err"))]
        return subprocess.CompletedProcess([command, *words],
                                           max(process.exitcode for process in processes),
                                           output.read_text(), "".join(errors))


TINY = (  # the quickstart, so small that a step takes a tenth of a second
    "+recipe=mobileclip/quickstart",
    "engine.batch_size=32",
    "engine.micro_batch=8",
    "data.streams=8",
    "data.window=8",
    "data.dataset.samples=96",
    "data.dataset.concepts=10",
    "data.workers=0",
    "schedule.warmup_steps=1",
    "log.every_steps=1",
    "checkpoint.every_steps=2",
    "evaluators.zero_shot.dataset.samples=40",
    "evaluators.zero_shot.dataset.concepts=10",
    "evaluators.zero_shot.every_steps=null",
    "engine.steps=4",
    "model.vocab_size=4096",
    "data.tokenizer.vocab_size=4096",
    "run_dir=run",
)


def succeeded(folder: Path, *command: str, ranks: int = 1) -> str:
    """What a command says that has to end well."""
    done = corekit_command(*command, folder=folder, ranks=ranks)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``.jsonl`` file; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def losses(run: Path) -> list[float]:
    """Those of every step that a run's directory tells of."""
    return [record["loss"] for record in records(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def determinism_restored() -> Iterator[None]:
    """A run makes torch deterministic for its whole process."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run that reached its end: the folder it was started in; the run directory is ``run``
    below it.
    """
    folder = tmp_path_factory.mktemp("finished")
    done = corekit_command("corekit-train", *TINY, folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder
