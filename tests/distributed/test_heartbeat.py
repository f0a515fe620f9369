"""One rank's end ends all: within 30 seconds, with its error, told once, and one exit status."""

import signal
import time
from pathlib import Path

import pytest
from commands import start_ranks

SCRIPT = "tests.distributed.ranks_that_end"
SILENCE = 2.0  # seconds, instead of 20


def end(folder: Path, ending: str, culprit: int, monkeypatch: pytest.MonkeyPatch,
        silence: float = SILENCE) -> tuple[list[int | None], str]:
    """(exit status of each rank, all that they print)."""
    monkeypatch.setenv("COREKIT_STALL_SECONDS", str(silence))
    processes = start_ranks(SCRIPT, ending, str(culprit), folder=folder, output=folder / "out",
                            ranks=2)
    deadline = time.monotonic() + 60
    try:
        for rank, process in enumerate(processes):
            if not (ending == "stopped" and rank == culprit):
                process.join(deadline - time.monotonic())
    finally:
        status = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
            process.join()
    return status, "".join(path.read_text() for path in sorted(folder.glob("out*")))


@pytest.mark.parametrize("culprit", [0, 1])
@pytest.mark.parametrize(("ending", "status", "sentence"), [
    ("user's error", 2, "corekit: the disk of this rank is full"),
    ("slip", 1, "IndexError: a slip of mine"),
    ("killed", 2, "corekit: rank {} "),
    ("stopped", 2, "corekit: rank {} "),
])
def test_one_ranks_end_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: int,
                                ending: str, status: int, sentence: str) -> None:
    began = time.monotonic()
    codes, printed = end(tmp_path, ending, culprit, monkeypatch)
    assert time.monotonic() - began < 30
    own = {"killed": -signal.SIGKILL, "stopped": None}.get(ending, status)
    expected = [status, status]
    expected[culprit] = own
    assert codes == expected, printed
    assert sentence.format(culprit) in printed, printed
    told = [line for line in printed.splitlines()
            if line.startswith("corekit: ") and "waiting for it" not in line]
    assert len(told) == (ending != "slip"), printed
    assert printed.count("Traceback") == (ending == "slip")
    if ending in ("killed", "stopped"):
        assert "no sign of life" in told[0]
        assert "memory is short" in told[0]
    assert "waiting for it" in printed or ending != "stopped"


@pytest.mark.parametrize("culprit", [0, 1])
def test_a_rank_that_stops_for_a_while_is_waited_for(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: int) -> None:
    codes, printed = end(tmp_path, "paused", culprit, monkeypatch)
    assert codes == [0, 0], printed
    assert f"corekit: rank {culprit} " in printed
    assert "has given no sign of life" in printed


def test_an_error_of_all_ranks_is_told_once(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    codes, printed = end(tmp_path, "alike", 1, monkeypatch)
    assert codes == [2, 2]
    assert printed.count("the same everywhere") == 1


def test_the_first_rank_tells_of_anothers_stall_and_all_go_on(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, printed = end(tmp_path, "stalled", 1, monkeypatch, silence=20)
    assert codes == [0, 0]
    assert printed.count("corekit: rank 1: no batch for 3 s") == 1
