"""Data processes end with the process that started them, however it ends, and one that is killed is
told in a sentence.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from torch.utils.data import DataLoader, IterableDataset

from corekit.data.loading.data_processes import DataProcesses
from corekit.errors import CorekitError

SCRIPT = """
import ctypes, multiprocessing, os, signal, sys, time
from torch.utils.data import IterableDataset, get_worker_info
from corekit.data.loading.data_processes import DataProcesses

class Slow(IterableDataset):
    def __iter__(self):
        yield get_worker_info().id
        yield get_worker_info().id
        if "STUCK" in sys.argv:
            ctypes.PyDLL(None).sleep(600)  # as in a lock: no other thread of it runs Python
        time.sleep(600)  # as where a disk does not answer

def main():
    # a shell's job in the background, as these tests may be, ignores interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    items = DataProcesses(Slow(), 2)
    next(items), next(items)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    ENDING

if "OF_ANOTHER" in sys.argv:
    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    process.join()
else:
    main()
"""
ENDINGS = {
    "exception": "raise ValueError('a slip')",
    "exit": "sys.exit(3)",
    "exit at once": "os._exit(3)",
    "interrupt": "time.sleep(600)",
    "terminated with its group": "time.sleep(600)",
    "killed": "time.sleep(600)",
    "killed while they are stuck": "time.sleep(1); print('stuck', flush=True); time.sleep(600)",
    "exception in a child": "raise ValueError('a slip')",
    "closed": "items.close(); del items; print('closed', flush=True)",
}
SIGNALS = {"interrupt": signal.SIGINT, "terminated with its group": signal.SIGTERM,
           "killed": signal.SIGKILL, "killed while they are stuck": signal.SIGKILL}
LIMIT = 5.0  # seconds


def start(folder: Path, ending: str, *words: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """The process with its data processes' ids, when it has data of each."""
    script = folder / "script.py"
    script.write_text(SCRIPT.replace("ENDING", ending))
    process = subprocess.Popen([sys.executable, str(script), *words], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2, process.communicate()
    return process, pids


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", ENDINGS)
def test_they_end_with_the_process_that_started_them(tmp_path: Path, ending: str) -> None:
    # multiprocessing's processes end without atexit
    word = "OF_ANOTHER" if "child" in ending else "STUCK" if "stuck" in ending else ""
    process, pids = start(tmp_path, ENDINGS[ending], word)
    if word == "STUCK":
        assert process.stdout is not None
        process.stdout.readline()
    began = time.monotonic()
    if ending == "terminated with its group":
        os.killpg(process.pid, SIGNALS[ending])
    elif ending in SIGNALS:
        process.send_signal(SIGNALS[ending])
    try:
        process.communicate(timeout=LIMIT)
        while any(map(is_there, pids)):
            assert time.monotonic() - began < LIMIT, f"{ending}: a data process goes on"
            time.sleep(0.05)
    finally:
        for pid in filter(is_there, pids):
            os.kill(pid, signal.SIGKILL)
        process.kill()


def test_signals_to_the_group_leave_them_to_a_process_that_goes_on(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: "
                                    "None); "
                                    "print('ready', flush=True); time.sleep(1); time.sleep(1)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in (signal.SIGTERM, signal.SIGTERM):
        os.killpg(process.pid, number)
        time.sleep(0.4)
        assert all(map(is_there, pids))
    process.kill()
    process.communicate()


def test_one_that_is_killed_is_told_in_a_sentence(tmp_path: Path) -> None:
    process, pids = start(tmp_path, "next(items), next(items), next(items)")
    os.kill(pids[0], signal.SIGKILL)
    message = process.communicate(timeout=30)[1].strip().splitlines()[-1]
    assert message.startswith("corekit.errors.CorekitError: a data process ended before its time")
    assert "lower data.workers or data.window" in message


class WithoutSharedMemory:
    """A batch for which there is no room, as torch notices when it hands it over."""

    def __reduce__(self) -> NoReturn:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space")


class Full(IterableDataset[WithoutSharedMemory]):
    """Batches for which there is no room."""

    def __init__(self, bus_error: bool) -> None:
        self.bus_error = bus_error

    def __iter__(self) -> Iterator[WithoutSharedMemory]:
        if self.bus_error:
            os.kill(os.getpid(), signal.SIGBUS)
        yield WithoutSharedMemory()
        time.sleep(600)


@pytest.mark.parametrize("bus_error", [False, True])
def test_too_little_shared_memory_is_told_in_a_sentence(bus_error: bool) -> None:
    items, began = DataProcesses(Full(bus_error), 1), time.monotonic()
    with pytest.raises(CorekitError, match=r"/dev/shm, is full.*lower data\.workers"):
        next(items)
    assert time.monotonic() - began < LIMIT


def test_no_shared_memory_at_all_is_told_in_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DataLoader, "__iter__", full)
    with pytest.raises(CorekitError, match=r"/dev/shm, is full.*lower data\.workers"):
        DataProcesses(Full(False), 1)


STALLED = """
import os, signal, sys, threading, time
from torch.utils.data import IterableDataset, get_worker_info
from corekit.cli.sentences import configure_logging
from corekit.data.loading import data_processes
from corekit.data.loading.data_processes import DataProcesses
from corekit.data.reading import reading

class Stopped(IterableDataset):
    def __iter__(self):
        yield 0
        if get_worker_info().id == 1:
            with reading("s3://bucket/00007.tar"):
                os.kill(os.getpid(), signal.SIGSTOP)
        yield 1

configure_logging()
data_processes.LOOK = 0.1
data_processes.ENDS_AFTER = 1000 if "GOES_ON" in sys.argv else 3
items = DataProcesses(Stopped(), 2)
if "GOES_ON" in sys.argv:
    def wake():
        while True:
            time.sleep(2)
            if items.readings[1].process:
                os.kill(items.readings[1].process, signal.SIGCONT)
    threading.Thread(target=wake, daemon=True).start()
print([next(items) for _ in range(4)], "goes on")
"""


@pytest.mark.parametrize("goes_on", [True, False])
def test_one_that_is_stopped_is_named_with_its_shard(tmp_path: Path, goes_on: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(STALLED)
    done = subprocess.run([sys.executable, str(script), *["GOES_ON"] * goes_on], timeout=60,
                          env={**os.environ, "COREKIT_STALL_SECONDS": "0.4"}, text=True,
                          capture_output=True)
    assert "waiting for data worker 1 of 2, process " in done.stderr, done.stderr
    assert "which reads s3://bucket/00007.tar for " in done.stderr
    assert ("goes on" in done.stdout) == goes_on
    assert ("CorekitError: no batch for " in done.stderr) == (not goes_on)
