"""Damaged annotations are counted by kind, or end in one sentence; none becomes a wrong box."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.dense.coco_instances import CocoInstances
from corekit.data.fields import find_fields
from corekit.data.transforms.base import Transform
from corekit.data.transforms.resizing import SquareResize
from corekit.errors import CorekitError
from tests.data.datasets.dense.made_up import annotation, coco, instances
from tests.data.transforms.test_moving import PIXELS, scene

KINDS: dict[str, dict[str, Any]] = {
    "no_area": {"bbox": [5, 5, 0, 10]},
    "outside": {"bbox": [60, 5, 10, 10]},
    "not_finite": {"bbox": [5, 5, float("nan"), 10]},
    "no_box": {"bbox": [5, 5]},
    "unknown_category": {"category_id": 2},
    "unknown_picture": {"image_id": 99},
    "duplicate_id": {"id": 1},
    "no_outline": {"segmentation": [[1, 2, 3, 4]]},
    "mask_size": {"segmentation": {"size": [4, 4], "counts": [16]}},
}


MORE: dict[str, dict[str, Any]] = {  # further ways to the same kinds
    "not_finite 2": {"area": float("nan")}, "no_box 2": {"bbox": None},
    "no_box 3": {"bbox": [1, 2, 3, "wide"]}, "unknown_category 2": {"category_id": [1]},
    "unknown_picture 2": {"image_id": "40"}, "no_outline 2": {"segmentation": None},
    "no_outline 3": {"segmentation": {"size": [40, 60], "counts": "damaged"}},
    "outside 2": {"bbox": [5, -11, 10, 10]}, "no_area 2": {"bbox": [5, 5, 5, -5]},
}


@pytest.mark.parametrize("kind", [*KINDS, *MORE])
def test_a_damaged_annotation_is_left_out_and_counted(
        tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    content = instances()
    coco(tmp_path, content)
    sound = CocoInstances(str(tmp_path)).objects
    content["annotations"].insert(2, {**annotation(50, 40, 1, [5, 5, 10, 10]),
                                     **{**KINDS, **MORE}[kind]})
    coco(tmp_path, content)
    with caplog.at_level(logging.WARNING):
        source = CocoInstances(str(tmp_path))
    kind = kind.partition(" ")[0]
    assert source.damage.counts == {kind: 1}
    assert f"damaged annotations are left out: {kind}: 1, such as annotation" in caplog.text
    assert np.array_equal(source.objects.boxes, sound.boxes)


def test_negative_sides_and_what_reaches_beyond_the_picture(tmp_path: Path) -> None:
    content = instances()
    content["annotations"] = [annotation(1, 10, 1, [-5, -4, 15, 100]),
                              annotation(2, 10, 1, [20, 20, -5, 5])]
    coco(tmp_path, content)
    source = CocoInstances(str(tmp_path))
    assert source.objects.boxes.tolist() == [[0, 0, 10, 40]]
    assert source.damage.counts == {"no_area": 1}


def test_a_crowd_of_polygons_stays_and_is_counted(tmp_path: Path) -> None:
    content = instances()
    content["annotations"] = [annotation(1, 10, 1, [5, 5, 10, 10], iscrowd=1)]
    coco(tmp_path, content)
    source = CocoInstances(str(tmp_path), crowds=True)
    assert source.damage.counts == {"crowd_polygons": 1}
    sample = source.decode(source.read(0, 0, 1)[0])
    assert sample["iscrowd"].tolist() == [1]
    assert sample["masks"].draw().sum() == pytest.approx(100, abs=12)


def cut_off(content: dict[str, Any]) -> str:
    return json.dumps(content)[:-100]


@pytest.mark.parametrize("damaged", [
    cut_off, lambda content: "", lambda content: "[]",
    lambda content: json.dumps({**content, "images": []}),
    lambda content: json.dumps({**content, "annotations": []}),
    lambda content: json.dumps({**content, "categories": [3]}),
    lambda content: json.dumps({**content, "images": [{"id": 1, "file_name": "a.jpg"}]})])
def test_a_file_damaged_as_a_whole_is_one_sentence(
        tmp_path: Path, damaged: Callable[[dict[str, Any]], str]) -> None:
    coco(tmp_path, instances())
    (tmp_path / "annotations" / "instances_train2017.json").write_text(damaged(instances()))
    with pytest.raises(CorekitError, match=r"instances_train2017.json (is not as COCO's: "
                                           r"|has no (annotated )?pictures)"):
        CocoInstances(str(tmp_path))


@pytest.mark.parametrize(("kind", "box"), [
    ("not_finite", [1, 2, float("nan"), 9]), ("no_area", [5, 5, 5, 9]),
    ("outside", [57, 1, 70, 9])])
def test_no_damaged_box_of_any_dataset_is_trained_on(kind: str, box: list[float]) -> None:
    sample = scene(1)
    sample["boxes"][0] = box
    with pytest.raises(BadSampleError, match="1: boxes: .* in 57 x 41 pixels") as error:
        Transform.of(SquareResize(PIXELS))(sample, find_fields(["image", "boxes", "masks"]))
    assert error.value.kind == kind
