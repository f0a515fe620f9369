"""Class maps of ADE20k, Cityscapes and Pascal VOC, with the numbers of the classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corekit.data.datasets.base import BadSampleError, Source
from corekit.data.datasets.dense.label_maps import Ade20k, Cityscapes
from corekit.data.datasets.dense.pascal_voc import PascalVoc
from corekit.errors import CorekitError
from tests.data.datasets.dense.made_up import class_map, picture


def ade(root: Path, numbers: list[int]) -> None:
    """One picture of ADE20k's validation split, with stripes of some numbers."""
    picture(root / "images" / "validation" / "ADE_val_00000001.jpg")
    class_map(root / "annotations" / "validation" / "ADE_val_00000001.png", numbers)


def voc(root: Path, objects: str = "", size: tuple[int, int] = (60, 40)) -> Path:
    """One picture of Pascal VOC, in both lists."""
    folder = root / "VOC2012"
    for kind in ("Main", "Segmentation"):
        (folder / "ImageSets" / kind).mkdir(parents=True)
        (folder / "ImageSets" / kind / "val.txt").write_text("2007_000032\n")
    picture(folder / "JPEGImages" / "2007_000032.jpg")
    class_map(folder / "SegmentationClass" / "2007_000032.png", [0, 1, 255, 20])
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "2007_000032.xml").write_text(
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}"
        "</annotation>")
    return folder


def voc_object(name: str, edges: list[object], difficult: int = 0) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(names, edges))
    return (f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
            "</object>")


def only(source: Any) -> dict[str, Any]:
    """The one sample of a source."""
    assert isinstance(source, Source)
    assert source.shard_sizes.tolist() == [1]
    sample: dict[str, Any] = source.decode(source.read(0, 0, 1)[0])
    assert set(sample) == {"key", *source.fields}
    return sample


@pytest.mark.parametrize("below", ["", "ADEChallengeData2016"])
def test_ade20k(tmp_path: Path, below: str) -> None:
    ade(tmp_path / below, [0, 1, 150])
    lines = ["Idx\tRatio\tTrain\tVal\tName"]
    lines += [f"{number}\t0.1\t9\t9\tthing {number}" for number in range(1, 151)]
    (tmp_path / below / "objectInfo150.txt").write_text("\n".join(lines))
    source = Ade20k(str(tmp_path), "validation")
    assert np.unique(only(source)["segmentation"]).tolist() == [0, 149, 255]
    assert only(source)["segmentation"][0, [0, 25, 59]].tolist() == [255, 0, 149]
    assert (source.class_names[0], source.num_classes) == ("thing 1", 150)


def test_numbers_of_no_class_are_a_bad_sample(tmp_path: Path) -> None:
    ade(tmp_path, [1, 151])
    with pytest.raises(BadSampleError, match="number 151 in its class map is of no class") as error:
        only(Ade20k(str(tmp_path), "validation"))
    assert error.value.kind == "unknown_class"
    with pytest.raises(CorekitError, match=r"holds no images/training/\*.jpg"):
        Ade20k(str(tmp_path))


def test_cityscapes(tmp_path: Path) -> None:
    name = "aachen/aachen_000000_000019"
    picture(tmp_path / "leftImg8bit" / "val" / f"{name}_leftImg8bit.png")
    class_map(tmp_path / "gtFine" / "val" / f"{name}_gtFine_labelIds.png", [7, 0, 33, 29, 26])
    source = Cityscapes(str(tmp_path), "val")
    assert only(source)["segmentation"][0, ::12].tolist() == [0, 255, 18, 255, 13]
    assert [source.class_names[each] for each in (0, 13, 18)] == ["road", "car", "bicycle"]


@pytest.mark.parametrize("below", ["", "VOCdevkit"])
def test_pascal_voc(tmp_path: Path, below: str) -> None:
    voc(tmp_path / below, voc_object("cat", [1, 1, 10, 20]) + voc_object("person", [5, 6, 60, 40],
                                                                        difficult=1))
    source = PascalVoc(str(tmp_path), "val")
    assert only(source)["segmentation"][0, ::15].tolist() == [0, 1, 255, 20]
    assert source.class_names[:2] == ["background", "aeroplane"]
    boxes = PascalVoc(str(tmp_path), "val", "boxes")
    sample = only(boxes)
    assert sample["boxes"].tolist() == [[0, 0, 10, 20], [4, 5, 60, 40]]
    assert [boxes.class_names[label] for label in sample["box_labels"]] == ["cat", "person"]
    assert sample["iscrowd"].tolist() == [0, 1]
    easy = PascalVoc(str(tmp_path), "val", "boxes", difficult=False)
    assert only(easy)["boxes"].tolist() == [[0, 0, 10, 20]]
    assert easy.fingerprint != boxes.fingerprint


@pytest.mark.parametrize(("kind", "objects", "size"), [
    ("picture_size", "", (61, 40)), ("no_area", voc_object("cat", [9, 9, 8, 9]), (60, 40)),
    ("outside", voc_object("cat", [70, 1, 80, 9]), (60, 40)),
    ("not_finite", voc_object("cat", [1, 1, "nan", 9]), (60, 40)),
    ("unknown_category", voc_object("unicorn", [1, 1, 9, 9]), (60, 40)),
    ("xml", "<object><name>cat</name></object>", (60, 40)), ("xml", "<object>", (60, 40))])
def test_damaged_boxes_of_pascal_voc(tmp_path: Path, kind: str, objects: str,
                                     size: tuple[int, int]) -> None:
    voc(tmp_path, objects, size)
    with pytest.raises(BadSampleError, match="2007_000032") as error:
        only(PascalVoc(str(tmp_path), "val", "boxes"))
    assert error.value.kind == kind
