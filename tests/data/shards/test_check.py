"""``corekit data index`` and ``check``: what is there, what is wrong and where, and a picture to
look at.
"""

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from corekit.cli.data import _warnings
from corekit.data.shards.check import Findings, check_index, spread
from corekit.data.shards.indexing import load_index
from tests.conftest import corekit_command
from tests.data.damage import WAYS, damaged_shards
from tests.data.loading.test_loader import add, jpeg, write_shards


def found_in(root: Path, workers: int = 0) -> Findings:
    findings = Findings()
    for part in check_index(load_index(root), workers):
        findings.add(part)
    return findings


def test_every_bad_sample_is_found_by_its_kind(tmp_path: Path) -> None:
    wanted = damaged_shards(tmp_path, 20, {0: list(WAYS)[:7], 1: list(WAYS)[7:]})
    findings = found_in(tmp_path)
    assert {kind: count for kind, (count, _) in findings.problems().items()} == wanted
    assert findings.samples == 40 + 14 + 18 + 24
    assert findings.widths == {48: 40 + 17 + 18 + 4}, "four of the bad ones have a good picture"
    names = [name for _, (_, names) in sorted(findings.problems().items()) for name in names]
    assert all(name.startswith(f"{tmp_path}/") and ".tar: " in name for name in names)
    assert len(findings.problems()["truncated"][1]) == 5, "the first few of seven"


def test_a_field_that_most_samples_lack_is_not_missed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for index in range(9):
            add(archive, f"{index}.jpg", jpeg(index))
            if index < 2:
                add(archive, f"{index}.txt", b"rare")
            if index != 5:
                add(archive, f"{index}.cls", b"3")
    findings = found_in(tmp_path)
    assert findings.problems() == {
        "missing_field": (1, [f"{tmp_path}/0.tar: 5: no cls for label; it has jpg"])}
    assert findings.extensions == {"jpg": 9, "txt": 2, "cls": 8}


def test_samples_that_are_sound_one_by_one_and_teach_nothing(tmp_path: Path) -> None:
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for index in range(40):
                add(archive, f"{index}.jpg", jpeg(0))
                add(archive, f"{index}.txt", b"one caption, with more words than 5 tokens")
                add(archive, f"{index}.cls", b"3")
    picture, label, caption, cut = _warnings(found_in(tmp_path), str(tmp_path), 5)
    assert picture.startswith("80 of 80 pictures are the same one: ")
    assert caption.startswith("80 of 80 captions are the same one ('one caption, with ")
    assert cut.startswith("80 of 80 captions are longer than the 5 tokens")
    assert label.startswith("all of the first 80 labels are class 3")
    assert _warnings(found_in(write_shards(tmp_path / "good")), "good", 77) == []


def test_spread() -> None:
    for values in ([5], [1, 2, 3], [7, 7, 7, 1, 9], [4, 1, 1, 1, 8]):
        assert spread(
            Counter(values)) == f"{min(values)} / {int(np.median(values))} / {max(values)}"


def test_the_commands(tmp_path: Path) -> None:
    write_shards(tmp_path / "good", (7, 6))
    done = corekit_command("corekit", "data", "index", "good", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 shards, 13 samples, 0.00 GiB under good\n"
    done = corekit_command("corekit", "data", "check", "good", "--picture", "few.png", "--workers",
                           "0", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in ("fields      jpg 13, txt 13, cls 13", "13; width 48 / 48 / 48, height 40 / 40 / "
                                                       "40 pixels",
                 "13; 20 / 20 / 20 characters", "bad         none"):
        assert part in done.stdout
    with Image.open(tmp_path / "few.png") as picture:
        assert picture.width == 5 * 168
    write_shards(tmp_path / "good", (7, 6))
    (tmp_path / "good" / "00001.tar").write_bytes(
        (tmp_path / "good" / "00001.tar").read_bytes()[:9000])
    done = corekit_command("corekit", "data", "check", "good", "--shards", "*1.tar", "--workers",
                           "0", folder=tmp_path)
    assert done.returncode == 1, "1: samples are bad; 2: nothing could be checked"
    assert "truncated: " in done.stdout
    assert "good/00001.tar: sample " in done.stdout
    done = corekit_command("corekit", "data", "check", "nothing", folder=tmp_path)
    assert done.returncode == 2
    assert "nothing is not a folder" in done.stderr


def test_workers_find_the_same(tmp_path: Path) -> None:
    damaged_shards(tmp_path, 5, {0: list(WAYS)[:3]})
    mine, theirs = found_in(tmp_path, 2), found_in(tmp_path)
    assert mine.extensions == theirs.extensions
    assert {kind: count for kind, (count, _) in mine.problems().items()} == {
        kind: count for kind, (count, _) in theirs.problems().items()}
