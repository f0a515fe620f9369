"""Files are complete or not there, whoever is killed or writes at the same time; locks end with
their process.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from corekit import files
from corekit.files import cache_folder, lock, publish, replacing, write_bytes, write_text


@contextlib.contextmanager
def another_process_locks(path: Path, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that writes ``theirs`` to a file and holds its lock until the block ends."""
    program = (f"import time\nfrom pathlib import Path\nfrom corekit.files import lock\n"
               f"file = lock(Path({str(path)!r}), 0)\nfile.write(b'theirs')\nfile.flush()\n"
               f"print('locked', flush=True)\n{then}\ntime.sleep(60)\n")
    holder = subprocess.Popen([sys.executable, "-c", program], text=True, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "locked\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("shared", [False, True])
def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path, shared: bool) -> None:
    target = tmp_path / "new" / "file.txt"
    write_text(target, "old", durable=True)

    def fail_half_way() -> None:
        with replacing(target, shared=shared) as temporary:
            temporary.write_text("ne")
            assert target.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    with replacing(target, shared=shared) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    left = tmp_path / ".folder.writing"
    left.mkdir()
    (left / "half").touch()  # left by a process that was killed
    with replacing(target, durable=True) as temporary:
        (temporary / "below").mkdir(parents=True)
        (temporary / "below" / "file").write_text("all of it")
        assert not target.exists()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "folder", "folder/below", "folder/below/file"]


def test_several_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]
    writers = [threading.Thread(target=lambda content=content: [
        write_bytes(tmp_path / "file", content) for _ in range(20)]) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lock_is_refused_with_patience_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another_process_locks(path) as holder:
        with pytest.raises(BlockingIOError, match="lock is locked by another process"):
            lock(path, 0.2)
        holder.send_signal(signal.SIGKILL)
        with lock(path, 10) as file:
            assert file.read() == b"theirs"


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As data workers that outlive a killed run."""
    forks = "import os\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)"
    with another_process_locks(tmp_path / "lock", forks) as holder:
        holder.send_signal(signal.SIGKILL)
        lock(tmp_path / "lock", 10).close()


def test_a_lock_is_of_the_file_that_has_the_name_now(tmp_path: Path) -> None:
    """Whoever waited for a file that got its final name begins a new one."""
    temporary = tmp_path / "shard.writing"
    renames = f"time.sleep(0.5)\nPath({str(temporary)!r}).rename({str(tmp_path / 'shard')!r})"
    with another_process_locks(temporary, renames + "\nfile.close()"):
        with lock(temporary, 10) as file:
            assert file.read() == b""
        assert (tmp_path / "shard").read_bytes() == b"theirs"
        publish(temporary, tmp_path / "shard")
    assert (tmp_path / "shard").read_bytes() == b""


def test_the_cache_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COREKIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "corekit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "corekit"
    monkeypatch.setenv("COREKIT_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"


def test_what_is_durable_is_on_the_disk_before_it_has_its_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda handle: (events.append("sync"), fsync(handle)))
    monkeypatch.setattr(files.os, "replace",
                        lambda *names: (events.append("rename"), replace(*names)))
    write_text(tmp_path / "file", "text", durable=True)
    assert events == ["sync", "rename", "sync"]
    write_text(tmp_path / "other", "text")
    assert events == ["sync", "rename", "sync", "rename"]
