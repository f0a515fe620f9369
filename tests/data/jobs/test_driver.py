"""Jobs over shards: every way of doing one gives the same bytes, whatever was killed, and only its
own folder is touched.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corekit import CorekitError
from corekit.cli.main import main
from corekit.data.jobs import manifest
from corekit.data.jobs.base import Progress, read_shard
from corekit.data.jobs.driver import run_job
from corekit.data.jobs.manifest import Manifest
from corekit.data.jobs.ray_cluster import in_ray
from tests.projects.mobileclip.reinforced_shards import write_tar
from tests.test_files import another_process_locks

JOBS = '''
import json
from collections import Counter
from pathlib import Path
from corekit.data.jobs.base import read_shard
from corekit.files import write_text
from corekit.data.datasets.base import BadSampleError
from corekit.registry import register

@register("job", "shout")
class Shout:
    """Captions in capitals, 100 % of them."""

    def __init__(self, mark: str = "!", times: int = 1, stop_at: str = "") -> None:
        self.mark, self.times, self.stop_at = mark, times, stop_at

    def identity(self) -> dict:
        if self.times < 0:
            from corekit import CorekitError
            raise CorekitError("times must not be negative")
        return {"code": Path("version").read_text() if Path("version").exists() else "1"}

    def process(self, samples, refuse):
        for raw in samples:
            if raw.key == self.stop_at and not Path("go_on").exists():
                raise KeyboardInterrupt
            if "txt" not in raw.members:
                refuse(BadSampleError("missing_field", raw.key))
                continue
            yield raw.key, {"txt": raw.members["txt"].upper() + self.mark.encode() * self.times}

@register("job", "words")
class Words:
    """How often each word occurs."""

    def __init__(self) -> None:
        pass

    def identity(self) -> dict:
        return {}

    def process(self, samples, refuse):
        found = Counter(word for raw in samples for word in raw.members["txt"].decode().split())
        yield "words", {"json": json.dumps(found).encode()}

    def finish(self, shards, out):
        total = Counter()
        for shard in shards:
            for _, content in read_shard(shard):
                total.update(json.loads(content))
        write_text(out / "words.json", json.dumps(total, sort_keys=True))
'''
NAMES = ("a/00.tar", "a/01.tar", "b/00.tar", "c.tar")


@pytest.fixture(name="source", autouse=True)
def source_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four shards of 5, 1, 5 and 5 samples, and a project with two jobs."""
    (tmp_path / "here" / "jobs_of_a_test" / "recipes").mkdir(parents=True)
    (tmp_path / "here" / "jobs_of_a_test" / "jobs.py").write_text(JOBS)
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path / "here"))
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for module in [
            name for name in sys.modules if name.startswith("corekit_projects.jobs_of_a_test")
    ]:
        monkeypatch.delitem(sys.modules, module)
    for shard, name in enumerate(NAMES):
        texts = [f"text {shard} {index}" for index in range(1 if shard == 1 else 5)]
        write_tar(tmp_path / "in" / name, ((f"k{shard}{index}", {"txt": text.encode()})
                                           for index, text in enumerate(texts)))
    return tmp_path / "in"


def shout(out: str | Path, **more: Any) -> Progress:
    arguments = more.pop("arguments", {})
    return run_job("shout", arguments, "in", out, **more)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_each_shard_becomes_one_of_its_name_with_a_record(tmp_path: Path) -> None:
    progress = shout(tmp_path / "out")
    assert (progress.shards, progress.written, progress.existing, progress.samples,
            progress.complete) == (4, 4, 0, 16, True)
    files = contents(tmp_path / "out")
    assert set(files) == {*NAMES, *(f"{name}.json" for name in NAMES), "manifest.json"}
    for shard, name in enumerate(NAMES):
        assert dict(read_shard(tmp_path / "out" / name)) == {
            f"k{shard}{index}.txt": f"TEXT {shard} {index}!".encode()
            for index in range(1 if shard == 1 else 5)
        }
    written = Manifest.load(tmp_path / "out" / "manifest.json")
    assert [(shard.name, shard.sha256) for shard in written.shards] == [
        (name, hashlib.sha256(files[name]).hexdigest()) for name in NAMES]
    assert written.samples == 16
    assert written.made_by["arguments"] == {}


class Ray(SimpleNamespace):
    """As much of Ray as the driver uses: what is remote is done when it is waited for."""

    def __init__(self, gpus: int = 0) -> None:
        super().__init__(gpus=gpus, wanted=[], init=lambda **_: None,
                         cluster_resources=lambda: {"CPU": 2, "GPU": gpus}, wait=lambda waiting:
                         (waiting[-1:], waiting[:-1]), get=lambda done: [call() for call in done])

    def remote(self, **wants: float) -> Callable[..., Any]:
        self.wanted.append(wants)
        return lambda function: SimpleNamespace(remote=lambda *job: lambda: function(*job))


def test_every_way_of_sharing_the_work_gives_the_same_bytes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shout(tmp_path / "alone")
    wanted = contents(tmp_path / "alone")
    assert shout(tmp_path / "pool", workers=2).complete
    for place, task in enumerate(((2, 3), (0, 3), (1, 3))):
        progress = shout(tmp_path / "tasks", task=task)
        assert progress.complete == (place == 2), "the last to end writes the manifest"
        assert (progress.written, progress.existing) == (2 if task[0] == 0 else 1, 0)
    ray = Ray(gpus=4)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert shout(tmp_path / "ray", spread=in_ray).complete
    assert ray.wanted == [{"num_cpus": 1, "num_gpus": 1}]
    for folder in ("pool", "tasks", "ray"):
        assert contents(tmp_path / folder) == wanted, folder


def test_without_ray_one_sentence_says_what_to_type(monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CorekitError, match=r"pip install 'corekit\[ray\]'"):
        shout(tmp_path / "out", spread=in_ray)


def test_an_interrupted_run_goes_on_and_a_second_one_writes_nothing(tmp_path: Path) -> None:
    stopped = {"stop_at": "k22"}
    with pytest.raises(KeyboardInterrupt):
        shout(tmp_path / "out", arguments=stopped)
    assert {"a/00.tar", "a/01.tar", "b/00.tar.writing"} <= set(contents(tmp_path / "out"))
    assert "b/00.tar" not in contents(tmp_path / "out")
    Path("go_on").touch()
    progress = shout(tmp_path / "out", arguments=stopped)
    assert (progress.written, progress.existing, progress.samples,
            progress.complete) == (2, 2, 16, True)
    shout(tmp_path / "again", arguments=stopped)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert shout(tmp_path / "out", arguments=stopped).existing == 4
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


@pytest.mark.parametrize("damage", ["bytes", "record", "gone", "half a record"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    shout(out)
    wanted = contents(out)
    shard, record = out / "c.tar", out / "c.tar.json"
    if damage == "bytes":
        content = bytearray(shard.read_bytes())
        content[520] ^= 1
        shard.write_bytes(content)
    elif damage == "half a record":
        record.write_text(record.read_text()[:30])
    else:
        (record if damage == "record" else shard).unlink()
    assert shout(out).written == 1
    assert contents(out) == wanted


def test_other_arguments_sources_and_code_are_refused_by_what_differs(tmp_path: Path,
                                                                      source: Path) -> None:
    out = tmp_path / "out"
    shout(out)
    wanted = contents(out)
    with pytest.raises(CorekitError, match=r"arguments.times was absent, is 2.*choose another "
                                           r"folder"):
        shout(out, arguments={"times": 2})
    with pytest.raises(CorekitError, match="job was shout, is words"):
        run_job("words", {}, "in", out)
    Path("version").write_text("2")
    with pytest.raises(CorekitError, match=r"\(code was 1, is 2\)"):
        shout(out)
    Path("version").unlink()
    write_tar(source / "d.tar", [("x", {"txt": b"another"})])
    with pytest.raises(CorekitError, match="source was"):
        shout(out)
    assert contents(out) == wanted


def test_folders_of_others_and_impossible_ones_are_left_alone(tmp_path: Path, source: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "0.tar").write_bytes(b"theirs")
    for out, message in (("theirs", "did not write"), ("in", "outside in"),
                         ("in/out", "outside in"), ("s3://a/b", "local")):
        with pytest.raises(CorekitError, match=message):
            shout(out)
    with pytest.raises(CorekitError, match="no task 3 of 3"):
        shout(tmp_path / "out", task=(3, 3))
    with pytest.raises(CorekitError, match="negative"):
        shout(tmp_path / "out", arguments={"times": -1})
    assert not (tmp_path / "out").exists()
    assert contents(tmp_path / "theirs") == {"0.tar": b"theirs"}
    assert not (source / "manifest.json").exists()


def test_bad_samples_are_counted_by_kind_and_left_out(tmp_path: Path, source: Path) -> None:
    write_tar(source / "b" / "00.tar", [("x", {"txt": b"1"}), ("y", {"cls": b"1"}),
                                        ("x", {"txt": b"2"}), ("z", {"txt": b"3"}),
                                        ("w", {"txt": b"4", "TXT": b"5"})])
    content = (source / "c.tar").read_bytes()
    (source / "c.tar").write_bytes(content[:3 * 1024 + 600])  # in the middle of the fourth of five
    progress = shout(tmp_path / "out")
    assert progress.bad == {"missing_field": 1, "duplicate": 2, "truncated": 1}
    assert progress.samples == 5 + 1 + 2 + 3
    assert dict(read_shard(tmp_path / "out" / "b" / "00.tar")) == {"x.txt": b"1!", "z.txt": b"3!"}
    by_shard = {
        shard.name: shard.bad for shard in Manifest.load(tmp_path / "out" / "manifest.json").shards
    }
    assert by_shard["b/00.tar"] == {"duplicate": 2, "missing_field": 1}
    assert by_shard["a/00.tar"] == {}


def test_a_job_may_finish_over_all_shards_once_they_are_there(tmp_path: Path) -> None:
    for task in range(4):
        assert not (tmp_path / "out" / "words.json").exists()
        run_job("words", {}, "in", tmp_path / "out", task=(task, 4))
    counts = json.loads((tmp_path / "out" / "words.json").read_text())
    assert counts == {"text": 16, "0": 5 + 1 + 3, "1": 1 + 3, "2": 5 + 3, "3": 5 + 3, "4": 3
                      } | {"1": 3 + 1}


def test_one_process_at_a_time_writes_a_shard(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "PATIENCE", 0.1)
    (tmp_path / "out").mkdir()
    writing = tmp_path / "out" / "c.tar.writing"
    with another_process_locks(writing):
        with pytest.raises(CorekitError, match=r"another process is writing .*c\.tar"):
            shout(tmp_path / "out")
        assert writing.read_bytes() == b"theirs"
    assert shout(tmp_path / "out").complete, "a lock goes with the process that had it"


def test_the_processes_of_a_pool_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    program = ("import os, time\nfrom pathlib import Path\nfrom corekit.data.loading.workers "
               "import in_processes\n"
               "def work(name):\n    Path(name).write_text(str(os.getpid()))\n    time.sleep(60)\n"
               "if __name__ == '__main__':\n    list(in_processes(work, [('p0',), ('p1',)], 2))\n")
    (tmp_path / "pool.py").write_text(program)
    parent = subprocess.Popen([sys.executable, "pool.py"], cwd=tmp_path, start_new_session=True)
    try:
        assert eventually(lambda: all(
            (tmp_path / name).exists() and (tmp_path / name).read_text() for name in ("p0", "p1")))
        parent.send_signal(signal.SIGKILL)
        children = [int((tmp_path / name).read_text()) for name in ("p0", "p1")]
        assert eventually(lambda: not any(map(is_alive, children)))
    finally:
        os.killpg(parent.pid, signal.SIGKILL) if any(map(is_alive, [parent.pid])) else None
        parent.wait()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path(
            "/proc/self").exists() else os.kill(process, 0) is None
    except OSError:
        return False


@pytest.fixture(name="command")
def command_fixture(monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["corekit", *words])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return (status, *capsys.readouterr())

    return run


def test_the_command_takes_its_words_anywhere(tmp_path: Path, command: Callable[..., Any]) -> None:
    status, output, errors = command("data", "shout", "in", "out", "times=2", "--workers", "1",
                                     "mark='?'")
    assert (status, errors) == (0, "")
    assert output.splitlines() == ["4 shards, 4 of them made now; 16 samples under out",
                                   "bad         none"]
    assert dict(read_shard(tmp_path / "out" / "a" / "01.tar")) == {"k10.txt": b"TEXT 1 0??"}
    assert command("data", "shout", "in", "picked", "--shards", "a/*.tar")[1].startswith("2 shards")


def test_a_slurm_array_shares_the_shards_out(command: Callable[..., Any],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    output = command("data", "shout", "in", "out")[1]
    assert "2 shards, 2 of them made now; 6 samples" in output
    assert "of 4 shards in all some are still to come" in output
    assert "2 shards, 2 of them made now; 10 samples" in command("data", "shout", "in", "out",
                                                                 "--task", "0/2")[1]


@pytest.mark.parametrize(("words", "message"), [
    (["tims=2"], "job 'shout': 'tims' is not an argument it takes (did you mean 'times'?); it "
                 "takes mark, times, stop_at"),
    (["times=many"], "job 'shout': 'times' takes int, not 'many'"),
    (["extra"], "'extra' is neither an option nor KEY=VALUE"),
    (["--worker", "2"], "'--worker' is neither an option nor KEY=VALUE"),
    (["mark=[a"], "cannot be read"),
    (["--task", "3"], "--task 3 is not I/N, such as 0/8"),
])
def test_what_is_typed_wrong_is_said_in_a_sentence(command: Callable[..., Any], words: list[str],
                                                   message: str) -> None:
    status, _, errors = command("data", "shout", "in", "out", *words)
    assert (status, errors.startswith("corekit: ")) == (2, True)
    assert message in errors
    assert not Path("out").exists()


def test_other_commands_still_refuse_what_they_do_not_know(command: Callable[..., Any]) -> None:
    status, _, errors = command("data", "index", "in", "extra")
    assert status == 2
    assert "unrecognized arguments: extra" in errors


def test_help_lists_jobs_and_their_arguments(command: Callable[..., Any]) -> None:
    assert "Captions in capitals, 100 % of them." in " ".join(command("data", "--help")[1].split())
    assert "times: int = 1" in command("data", "shout", "--help")[1]
