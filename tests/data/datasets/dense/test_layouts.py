"""Any data set as shards, which are read back equal; folders are known by what lies in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corekit.cli.main import make_parser
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.dense.layouts import layouts, open_source
from corekit.data.shards.members import default_fields
from corekit.data.shards.webdataset import WebDataset
from corekit.errors import CorekitError
from tests.data.datasets.dense import test_label_maps, test_refcoco
from tests.data.datasets.dense.made_up import class_map, coco, instances, picture


def cityscapes(root: Path) -> None:
    name = "aachen/aachen_000000_000019"
    picture(root / "leftImg8bit" / "val" / f"{name}_leftImg8bit.png")
    class_map(root / "gtFine" / "val" / f"{name}_gtFine_labelIds.png", [7, 0, 33, 29, 26])


def voc(root: Path) -> None:
    test_label_maps.voc(root, test_label_maps.voc_object("cat", [1, 1, 10, 20]))


def ade(root: Path) -> None:
    test_label_maps.ade(root, [0, 1, 150])


def shards(*words: object) -> None:
    """The command `corekit data shards`."""
    parser = make_parser(entries=False)
    options, options_words = parser.parse_known_args(["data", "shards", *map(str, words),
                                                      "--workers", "1"])
    options.words = options_words
    options.run(options)


def read_back(folder: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    source = WebDataset(str(folder), fields=default_fields(*fields))
    return [source.decode(handle) for handle in source.read(0, 0, int(source.shard_sizes[0]))]


def equal(value: object, wanted: object) -> bool:
    if hasattr(value, "draw"):
        return equal(value.draw(), wanted.draw())  # type: ignore[attr-defined]
    return np.array_equal(np.asarray(value), np.asarray(wanted))


@pytest.mark.parametrize(("make", "arguments", "name"), [
    (lambda root: coco(root, instances(), "val2017"), {"split": "val2017"}, "coco_instances"),
    (ade, {"split": "validation"}, "ade20k"), (cityscapes, {"split": "val"}, "cityscapes"),
    (voc, {"split": "val"}, "pascal_voc"),
    (voc, {"split": "val", "annotations": "boxes"}, "pascal_voc")])
def test_shards_of_any_layout_are_read_back_equal(
        tmp_path: Path, make: Callable[[Path], None], arguments: dict[str, object], name: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "source")
    assert list(layouts(str(tmp_path / "source"))) == [name]
    words = [f"{key}={value}" for key, value in arguments.items()]
    image_format = ["--image-format", "png"] if name == "cityscapes" else []
    shards(tmp_path / "source", tmp_path / "out", *words, *image_format)
    printed = capsys.readouterr().out
    assert "bad         none" in printed
    source = open_source(str(tmp_path / "source"), arguments)
    wanted = [source.decode(handle) for handle in source.read(0, 0, int(source.shard_sizes[0]))]
    for field in source.fields:
        assert f"{field}: " in printed
    if name == "cityscapes":  # beside a picture that is a PNG
        fields = {**default_fields("image"), "segmentation": "seg.png"}
        read = WebDataset(str(tmp_path / "out"), fields=fields)
        samples = [read.decode(handle) for handle in read.read(0, 0, 1)]
    else:
        samples = read_back(tmp_path / "out", tuple(source.fields))
    assert len(samples) == len(wanted)
    for sample, other in zip(samples, wanted):
        assert set(sample) == set(other)
        assert all(equal(sample[field], other[field]) for field in sample if field != "key")


def test_phrases_of_one_picture_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    test_refcoco.test_a_sample_is_a_phrase_and_its_box(tmp_path / "source")
    shards("refcoco", tmp_path / "out", f"root={tmp_path / 'source'}", "split=testA")
    assert "phrase 1: left out" in capsys.readouterr().out
    samples = read_back(tmp_path / "out", ("image", "text", "boxes"))
    assert [sample["text"] for sample in samples] == ["left apple", "the big one"]


def test_a_folder_of_no_layout_or_of_several(tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="it holds none of coco_instances"):
        open_source(str(tmp_path), {})
    coco(tmp_path, instances(), "val2017")
    ade(tmp_path)
    with pytest.raises(CorekitError, match="it holds more than one: coco_instances, ade20k; type "
                                           "the data set's name, and root=FOLDER"):
        open_source(str(tmp_path), {})


def test_labels_of_shards_beyond_the_classes(tmp_path: Path) -> None:
    coco(tmp_path / "source", instances(), "val2017")
    shards(tmp_path / "source", tmp_path / "out", "split=val2017")
    (tmp_path / "out" / "classnames.txt").write_text("person\nstop sign\n")
    with pytest.raises(BadSampleError, match="category_id 0 or 2 is not one of 2 classes"):
        read_back(tmp_path / "out", ("image", "boxes", "box_labels"))
