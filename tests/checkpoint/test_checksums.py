"""A checkpoint that is not what was written is kept aside, and the whole one before it is taken."""

from collections.abc import Callable
from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.checkpoint.checksums import damaged_file, set_aside_damaged, write_checksums


def checkpoint(folder: Path, step: int) -> Path:
    """A complete one with two files."""
    path = folder / f"step_{step:08d}"
    (path / "state").mkdir(parents=True)
    (path / "state" / "a.distcp").write_bytes(bytes(range(256)) * 8)
    (path / "counters.json").write_text("{}")
    write_checksums(path)
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_any_other_byte_is_noticed(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    whole = checkpoint(tmp_path, 1)
    assert damaged_file(whole) is None
    damage(whole / "state" / "a.distcp")
    assert damaged_file(whole) == "state/a.distcp"
    assert damaged_file(whole, below="model/") is None


def test_the_newest_whole_one_is_gone_on_from(tmp_path: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    paths = [checkpoint(tmp_path, step) for step in (1, 2, 3)]
    cut(paths[2] / "state" / "a.distcp")
    (paths[1] / "checksums.json").write_text("{")
    set_aside_damaged(paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_00000001", "step_00000002.damaged", "step_00000003.damaged"]
    assert "state/a.distcp is not what was written" in caplog.text


def test_the_same_step_may_be_damaged_twice(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 1)
    for _ in range(2):
        damaged = checkpoint(tmp_path, 2)
        cut(damaged / "state" / "a.distcp")
        set_aside_damaged([whole, damaged])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_00000001", "step_00000002.damaged", "step_00000002.damaged2"]


def test_a_run_without_a_whole_one_is_not_begun_anew(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    flip(path / "state" / "a.distcp")
    with pytest.raises(CorekitError, match="no checkpoint of .* is whole"):
        set_aside_damaged([path])
    assert path.is_dir()


def test_checkpoints_of_before_there_were_checksums_are_taken(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    (path / "checksums.json").unlink()
    set_aside_damaged([path])
    assert path.is_dir()
