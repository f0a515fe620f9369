"""What is logged is shown by the commands alone: by the first rank, warnings on standard error; a
run keeps all of it in its files.
"""

import io
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributed import HashStore

from corekit import CorekitError
from corekit.cli.data import _print_findings
from corekit.cli.sentences import configure_logging, sentences, wait_passively
from corekit.data.shards.check import Findings
from corekit.distributed.heartbeat import Failure, Heartbeat
from corekit.distributed.process_group import ProcessGroup
from corekit.train.logger import RunLogger
from tests.conftest import TINY, corekit_command

log = logging.getLogger("corekit.somewhere")


@pytest.fixture(name="logger", autouse=True)
def logger_fixture() -> Iterator[logging.Logger]:
    """The logger as it is before a command configures it."""
    logger, root = logging.getLogger("corekit"), logging.getLogger()
    before, level, root_level = list(logger.handlers), logger.level, root.level
    logger.handlers, logger.level = [logging.NullHandler()], logging.NOTSET
    yield logger
    logger.handlers = before
    logger.setLevel(level)
    root.setLevel(root_level)


def test_a_command_shows_messages_and_warnings_apart(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        configure_logging()
    log.info("step %d", 3)
    log.warning("one shard is bad")
    assert capsys.readouterr() == ("step 3\n", "corekit: one shard is bad\n")


def test_a_key_moves_no_cursor_and_forges_no_line(tmp_path: Path, logger: logging.Logger,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    key = "a\x1b[2J\rb\nTrained"
    shown = "a\\x1b[2J\\rb\\nTrained"
    configure_logging()
    run = RunLogger(tmp_path, ProcessGroup(0, 1, torch.device("cpu")), steps=1, done=0, samples=0)
    run.say(key)
    log.warning("%s is bad", key)
    run.close()
    with pytest.raises(SystemExit), sentences():
        raise CorekitError(f"no {key}")
    _print_findings(Findings(1, Counter({key: 1}), bad={"image": (1, [key])}))
    printed = capsys.readouterr()
    assert (tmp_path / "log.txt").read_text() == f"{shown}\n{shown} is bad\n"
    assert printed.err == f"corekit: {shown} is bad\ncorekit: no {shown}\n"
    assert printed.out.count(shown) == 3
    assert not set("\x1b\r") & set(printed.out + printed.err)


def test_the_error_of_another_rank_forges_no_line(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    beat = SimpleNamespace(rank=0, store=HashStore())  # a real one would go on
    monkeypatch.setattr(os, "_exit", lambda status: None)
    failure = Failure(rank=1, teller=0, status=2, sentence="no a\x1b[2J\nb")
    Heartbeat._leave(beat, failure)  # type: ignore[arg-type]
    assert capsys.readouterr().err == "corekit: no a\\x1b[2J\\nb\n"


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
def test_only_the_first_rank_shows_its_log(monkeypatch: pytest.MonkeyPatch, name: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(name, "1")
    configure_logging()
    log.warning("one shard is bad")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("rank", "name"), [(0, "log.txt"), (2, "log_rank2.txt")])
def test_a_run_keeps_its_log(tmp_path: Path, rank: int, name: str, logger: logging.Logger,
                             capsys: pytest.CaptureFixture[str]) -> None:
    ranks = ProcessGroup(rank, 3, torch.device("cpu"))
    for _ in range(2):
        run = RunLogger(tmp_path, ranks, steps=10, done=2, samples=20)
        run.say("100 % of it")
        log.warning("one shard is bad")
        run.close()
    log.warning("after the run")
    assert (tmp_path / name).read_text() == "100 % of it\none shard is bad\n" * 2
    assert capsys.readouterr() == ("", ""), "nobody has asked for it on the console"
    assert logger.level == logging.NOTSET


def test_whoever_loads_a_model_sees_nothing(finished_run: Path) -> None:
    program = ("import logging, sys, corekit\n"
               "corekit.load('run')\n"
               "logging.getLogger('corekit.data').warning('one shard is bad')\n"
               "assert not logging.getLogger().handlers\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=finished_run, check=True,
                          capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_two_ranks_show_each_line_once(tmp_path: Path) -> None:
    done = corekit_command("corekit-train", *TINY, "engine.parallel=ddp", folder=tmp_path, ranks=2)
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if line.startswith("step 4/4")]
    assert len(shown) == 1
    first, second = ((tmp_path / "run" / name).read_text() for name in ("log.txt",
                                                                        "log_rank1.txt"))
    assert shown[0] in first.splitlines()
    assert "Trained mobileclip_nano" in first
    assert "step 4/4" in second
    assert "Trained" not in second


class Closed(io.StringIO):
    """A terminal or a reader that is gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_console_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    run = RunLogger(tmp_path, ProcessGroup(0, 1, torch.device("cpu")), 10, 0, 0)
    monkeypatch.setattr(sys, "stdout", Closed())
    for step in (1, 2):
        log.info("step %d", step)
    run.close()
    assert capsys.readouterr().err.startswith("corekit: standard output takes no more")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[::2] == ["step 1", "step 2"] or lines[1:] == ["step 1", "step 2"]


def test_a_closed_standard_output_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    configure_logging()
    log.info("step 1")
    assert not sys.stdout.isatty()


def test_waiting_threads_sleep_unless_the_user_says_otherwise(
        monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, policy in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"),
                              ({"GOMP_SPINCOUNT": "1000"}, None)):
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        wait_passively()
        assert os.environ.get("OMP_WAIT_POLICY") == policy
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
