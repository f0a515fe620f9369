"""``corekit data check`` names every kind of damaged annotation with an example."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from corekit.cli.main import make_parser
from corekit.data.datasets.dense.layouts import open_source
from corekit.data.shards.writer import write_shards
from corekit.errors import CorekitError
from tests.data.datasets.dense.made_up import annotation, class_map, coco, instances, picture
from tests.data.datasets.dense.test_damage import KINDS
from tests.data.datasets.dense.test_label_maps import ade
from tests.data.loading.test_loader import add


def check(*words: object) -> int:
    """The exit status of `corekit data check`."""
    parser = make_parser(entries=False)
    options, options.words = parser.parse_known_args(
        ["data", "check", *map(str, words), "--workers", "1"])
    try:
        options.run(options)
    except SystemExit as status:
        return int(str(status.code))
    return 0


def test_every_kind_in_cocos_layout_is_named(tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    content = instances()
    for number, damage in enumerate(KINDS.values()):
        content["annotations"].append({**annotation(50 + number, 40, 1, [5, 5, 10, 10]), **damage})
    content["annotations"].append(annotation(70, 40, 1, [5, 5, 10, 10], iscrowd=1))
    coco(tmp_path, content)
    (tmp_path / "train2017" / "a.jpg").unlink()
    picture(tmp_path / "train2017" / "d.jpg", size=(60, 41))
    assert check(tmp_path, "--picture", tmp_path / "samples.png") == 1
    printed = capsys.readouterr().out
    assert "4 samples in coco_train2017" in printed
    for kind in (*KINDS, "crowd_polygons", "missing_file", "picture_size"):
        assert f"  {kind}: 1\n    " in printed
    assert "unknown_category: 1\n    coco_train2017: annotation 54 of image 40\n" in printed
    assert f"{tmp_path}: train2017/a: train2017/a.jpg does not exist" in printed
    with Image.open(tmp_path / "samples.png") as sheet:
        assert sheet.width > 160, "two sound pictures"


def test_a_sound_data_set_and_a_class_map_of_another_size(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ade(tmp_path, [0, 1, 150])
    assert check(tmp_path) == 0
    class_map(tmp_path / "annotations" / "validation" / "ADE_val_00000001.png", [1, 2], (61, 40))
    assert check("ade20k", f"root={tmp_path}", "split=validation") == 1
    assert "mask_size: 1\n    images/validation/ADE_val_00000001: segmentation of 61 x 40 pixels " \
           "for a picture of 60 x 40" in capsys.readouterr().out
    with pytest.raises(CorekitError, match="KEY=VALUE goes with the name of a data set"):
        check(tmp_path, "split=validation")


def damaged(notes: dict[str, Any], kind: str) -> bytes:
    """The json member of a sample with one damage."""
    first = notes["annotations"][0]
    first |= {"no_area": {"bbox": [5, 5, 0, 10]}, "outside": {"bbox": [60, 5, 10, 10]},
              "not_finite": {"bbox": [5, 5, float("nan"), 10]},
              "masks": {"segmentation": [[1, 2, 3, 4]]}, "unknown_category": {"category_id": -1},
              }.get(kind, {})
    if kind == "mask_size":
        notes["width"] = 61
    content = json.dumps(notes).encode()
    return content[:-60] if kind == "boxes" else content


@pytest.mark.parametrize("kind", ["no_area", "outside", "not_finite", "masks", "unknown_category",
                                  "mask_size", "boxes"])
def test_damaged_annotations_in_shards(tmp_path: Path, kind: str,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    coco(tmp_path / "source", instances(), "val2017")
    write_shards(open_source(str(tmp_path / "source"), {"split": "val2017"}), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "000000.tar") as archive:
        members = {name: archive.extractfile(name).read() for name in archive.getnames()}
    (tmp_path / "bad").mkdir()
    with tarfile.open(tmp_path / "bad" / "0.tar", "w") as archive:
        for name, content in members.items():
            if name == "val2017/c.json":
                content = damaged(json.loads(content), kind)
            add(archive, name, content)
    assert check(tmp_path / "bad") == 1
    printed = capsys.readouterr().out
    assert f"  {kind}: 1\n    {tmp_path}/bad/0.tar: val2017/c" in printed
