"""Choices among pictures: read as their authors publish them, written as shards, and read back."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corekit import CorekitError
from corekit.cli.main import main
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.choices.base import ChoicePictures
from corekit.data.datasets.choices.captions import SUGAR_CREPE, Aro, SugarCrepe
from corekit.data.datasets.choices.instances import Instance
from corekit.data.datasets.choices.shards import Choices
from corekit.data.datasets.choices.winogavil import Winogavil
from corekit.data.datasets.choices.winoground import Winoground
from corekit.data.shards.writer import write_shards


def picture(path: Path, shade: int = 0) -> None:
    """A picture of 8 x 6 pixels, each of another colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3) + np.uint8(shade)
    Image.fromarray(pixels).save(path)


def sugar_crepe(root: Path) -> SugarCrepe:
    """Two of its files; the second has a damaged row of each kind."""
    for name in "ab":
        picture(root / "val2017" / f"00{name}.png")
    row = {"filename": "00a.png", "caption": "a red cup", "negative_caption": "a blue cup"}
    for part in SUGAR_CREPE:
        (root / f"{part}.json").write_text(json.dumps({"0": row}))
    rows = {"3": row, "7": {**row, "filename": "00b.png", "caption": "two cups"},
            "8": {**row, "negative_caption": " "}, "9": {"caption": "no picture"},
            "10": {**row, "filename": "../00a.png"}, "11": "no row", "12": {**row, "caption": 3},
            "13": {**row, "filename": "gone.png"}}
    (root / "swap_obj.json").write_text(json.dumps(rows))
    return SugarCrepe(str(root), "swap_obj")


def winoground(root: Path) -> Winoground:
    """Two pairs, with names that lack .png, and a line that is cut off."""
    rows = []
    for number in range(2):
        row = {"id": number, "tag": "swap"}
        for side in range(2):
            name = f"ex_{number}_img_{side}"
            picture(root / "data" / "images" / f"{name}.png", shade=number + 40 * side)
            row |= {f"image_{side}": name, f"caption_{side}": f"caption {number}{side}"}
        rows.append(json.dumps(row))
    (root / "data" / "examples.jsonl").write_text("\n".join(rows) + '\n{"id": 3, "image_0')
    return Winoground(str(root))


def winogavil(root: Path) -> Winogavil:
    """Two cues for the same pictures, and an association that is no candidate."""
    candidates = ["eagle", "tea party", "ash", "metal", "factory"]
    for number, name in enumerate(candidates):
        picture(root / "winogavil_images" / f"{name}.jpg", shade=20 * number)
    with open(root / "winogavil_dataset.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "candidates", "cue", "associations", "ID"])
        for cue, right in [("bald", ["ash", "eagle"]), ("Odd cup", ["tea party"]),
                           ("gone", ["horse"]), (" ", ["ash"])]:
            table.writerow([0, json.dumps(candidates), cue, json.dumps(right), 0])
    return Winogavil(str(root))


def aro(root: Path) -> Aro:
    """Two boxes in one picture, one of them over its edge, and one without width."""
    picture(root / "images" / "7.png")
    row = {"image_path": "7.png", "true_caption": "the cup is on the table",
           "false_caption": "the table is on the cup", "relation_name": "on"}
    boxes = [(1, 2, 4, 3), (5, 3, 6, 3), (1, 1, 0, 3)]
    rows = [{**row, **{f"bbox_{side}": value for side, value in zip("xywh", box)}}
            for box in boxes]
    (root / "visual_genome_relation.json").write_text(json.dumps([*rows, rows[0]]))
    return Aro(str(root))


MAKERS = {"sugar_crepe": sugar_crepe, "winoground": winoground, "winogavil": winogavil, "aro": aro}


def test_sugar_crepe_has_a_right_caption_and_a_wrong_one(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = sugar_crepe(tmp_path)
    assert source.instances[:2] == [Instance((0,), ("a red cup", "a blue cup"), (0,)),
                                    Instance((1,), ("two cups", "a blue cup"), (0,))]
    assert source.damage.counts == {"empty_caption": 2, "row": 2, "picture_name": 1}
    assert "row 3" in caplog.text
    handles = source.read(0, 0, 3)
    assert source.decode(handles[1])["key"] == "00b"
    with pytest.raises(BadSampleError, match=r"gone.png does not exist"):
        source.decode(handles[2])
    everything = SugarCrepe(str(tmp_path))
    assert len(everything.instances) == 6 + 3
    assert everything.shard_sizes.tolist() == [3], "a picture once, however many captions it has"


def test_winoground_names_may_lack_their_ending(tmp_path: Path) -> None:
    source = winoground(tmp_path)
    assert source.instances[1] == Instance((2, 3), ("caption 10", "caption 11"), (0, 1))
    assert source.damage.counts == {"row": 1}
    assert [source.key(number) for number in range(4)] == [
        "ex_0_img_0", "ex_0_img_1", "ex_1_img_0", "ex_1_img_1"]


def test_winogavil_has_each_picture_once(tmp_path: Path) -> None:
    source = winogavil(tmp_path)
    assert source.instances == [Instance((0, 1, 2, 3, 4), ("A bald",), (0, 2)),
                                Instance((0, 1, 2, 3, 4), ("An odd cup",), (1,))]
    assert source.damage.counts == {"right": 1, "empty_caption": 1}
    assert source.shard_sizes.sum() == 5


def test_aro_cuts_its_box_out(tmp_path: Path) -> None:
    source = aro(tmp_path)
    assert [instance.pictures for instance in source.instances] == [(0,), (1,), (0,)]
    assert source.damage.counts == {"box": 1}
    whole = Image.open(tmp_path / "images" / "7.png")
    for handle, box in zip(source.read(0, 0, 2), [(1, 2, 5, 5), (5, 3, 11, 6)], strict=True):
        assert np.array_equal(np.asarray(source.decode(handle)["image"]),
                              np.asarray(whole.crop(box)))


def test_orders_of_words_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    picture(tmp_path / "val2014" / "3.png")
    options = ["a cup on a table", "table a on cup a", "a a cup table on"]
    (tmp_path / "coco_order.json").write_text(json.dumps([
        {"image": "val2014/3.png", "caption_options": options},
        {"image": "val2014/3.png", "caption": ["a cup on a table", "a cup"]}]))
    source = Aro(str(tmp_path), "coco_order")
    assert source.instances == [Instance((0,), tuple(options), (0,))]
    assert source.damage.counts == {"row": 1}


@pytest.mark.parametrize("name", MAKERS)
def test_shards_give_back_what_was_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source: ChoicePictures = MAKERS[name](tmp_path / "source")
    out = tmp_path / "wds_set_test"
    write_shards(source, out, samples_per_shard=2, image_format="png", split="test")
    read = Choices(str(out))
    missing = [number for number in range(len(source.keys)) if source.keys[number] == "gone"]
    kept = [instance for instance in source.instances if not {*instance.pictures} & {*missing}]
    assert read.instances == kept
    assert read.damage.counts == ({"unknown_picture": 1} if missing else {})
    wanted = [source.decode(handle) for handle in source.read(0, 0, int(read.shard_sizes.sum()))]
    samples = [read.decode(handle) for shard, count in enumerate(read.shard_sizes)
               for handle in read.read(shard, 0, int(count))]
    for sample, original in zip(samples, wanted, strict=True):
        assert sample["key"] == original["key"]
        assert np.array_equal(np.asarray(sample["image"]), np.asarray(original["image"]))


LINE: dict[str, Any] = {"pictures": ["00a"], "sentences": ["right", "wrong"], "right": [0]}
DAMAGE = {
    "unknown_picture": {"pictures": ["00c"]}, "empty_caption": {"sentences": ["right", ""]},
    "right": {"right": [2]}, "line": {"right": None}, "no_choice": {"sentences": ["right"]},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_lines_are_counted(kind: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    out = tmp_path / "out"
    write_shards(sugar_crepe(tmp_path / "source"), out, split="test")
    lines = [{**LINE, **DAMAGE[kind]}, LINE]
    (out / "instances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = Choices(str(out))
    assert (len(read.instances), read.damage.counts) == (1, {kind: 1})


@pytest.mark.parametrize("right", [[], [-1], [0, 0], [0, 1], ["0"], [True, False]])
def test_what_is_right_must_be_a_candidate_and_leave_a_wrong_one(
        right: list[object], tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    out = tmp_path / "out"
    write_shards(sugar_crepe(tmp_path / "source"), out, split="test")
    (out / "instances.jsonl").write_text(json.dumps({**LINE, "right": right}) + "\n")
    with pytest.raises(CorekitError, match=r"instances.jsonl holds no choice: \w+: 1"):
        Choices(str(out))


def test_files_that_are_cut_off_or_missing_are_one_sentence(tmp_path: Path) -> None:
    sugar_crepe(tmp_path)
    whole = (tmp_path / "add_att.json").read_text()
    (tmp_path / "add_att.json").write_text(whole[:-10])
    with pytest.raises(CorekitError, match=r"add_att.json cannot be read: Unterminated"):
        SugarCrepe(str(tmp_path), "add_att")
    (tmp_path / "add_att.json").write_text("[[]]")
    with pytest.raises(CorekitError, match=r"add_att.json holds no choice: row: 1"):
        SugarCrepe(str(tmp_path), "add_att")
    (tmp_path / "add_att.json").unlink()
    with pytest.raises(CorekitError, match=r"add_att.json does not exist"):
        SugarCrepe(str(tmp_path), "add_att")
    for path in (tmp_path / "val2017").iterdir():
        path.unlink()
    with pytest.raises(CorekitError, match="holds none of the pictures, such as 00a.png: they lie "
                                           "in val2017/ or images/val2017/"):
        SugarCrepe(str(tmp_path), "swap_obj")


def test_the_command_writes_a_set_as_evaluations_read_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source").mkdir()
    winoground(tmp_path / "source")
    out = str(tmp_path / "set")
    monkeypatch.setattr("sys.argv", ["corekit", "data", "shards", "winoground", out,
                                     f"root={tmp_path}/source", "--split", "test", "--workers=1"])
    main()
    assert "2 choices among them in instances.jsonl" in capsys.readouterr().out
    assert (tmp_path / "set" / "test" / "nshards.txt").read_text() == "1\n"
    assert len(Choices(out).instances) == 2
