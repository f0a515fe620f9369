"""RefCOCO's phrases in MDETR's JSON files."""

import json
from pathlib import Path
from typing import Any

import pytest

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.dense.coco_instances import CocoInstances
from corekit.data.datasets.dense.refcoco import RefCoco
from tests.data.datasets.dense.made_up import annotation, instances, picture


def content() -> dict[str, Any]:
    """Three phrases of one picture, the last without a box."""
    images = [{"id": number, "file_name": "COCO_train2014_000000000007.jpg", "width": 60,
               "height": 40, "original_id": 7, "caption": text, "dataset_name": "refcoco"}
              for number, text in enumerate(["left apple ", "the big one", "gone"])]
    annotations = [annotation(5, 1, 1, [1, 2, 3, 4], tokens_positive=[[0, 4]]),
                   annotation(6, 0, 1, [10, 10, 20, 20])]
    return {"images": images, "annotations": annotations,
            "categories": [{"id": 1, "name": "object"}]}


def test_a_sample_is_a_phrase_and_its_box(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir(parents=True)
    file = tmp_path / "annotations" / "finetune_refcoco_testA.json"
    file.write_text(json.dumps(content()))
    picture(tmp_path / "train2014" / "COCO_train2014_000000000007.jpg")
    source = RefCoco(str(tmp_path), split="testA")
    first, second, third = source.read(0, 0, 3)
    assert [(sample["text"], sample["boxes"].tolist()) for sample in (source.decode(first),
                                                                      source.decode(second))] == [
        ("left apple", [[10, 10, 30, 30]]), ("the big one", [[1, 2, 4, 6]])]
    assert set(source.decode(first)) == {"key", *source.fields}
    assert source.image_ids == [7, 7, 7]
    assert len({source.key_of(handle) for handle in (first, second, third)}) == 3
    with pytest.raises(BadSampleError, match="its phrase 'gone' has 0 boxes instead of one"):
        source.decode(third)


def test_pictures_that_are_tested_on_are_left_out_of_training(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "annotations").mkdir()
    tested = "annotations/finetune_refcoco_testA.json"
    (tmp_path / tested).write_text(json.dumps(content()))
    coco = instances()
    coco["images"][0]["id"] = 7  # its number in COCO, which the phrases have as original_id
    for item in coco["annotations"]:
        item["image_id"] = 7 if item["image_id"] == 10 else item["image_id"]
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(coco))
    for name in "cadb":
        picture(tmp_path / "train2017" / f"{name}.jpg")
    caplog.set_level("INFO", "corekit")
    everything = CocoInstances(str(tmp_path), unannotated=True)
    others = CocoInstances(str(tmp_path), unannotated=True, without=[tested])
    assert (everything.image_ids, others.image_ids) == ([7, 20, 30, 40], [20, 30, 40])
    assert not others.damage.counts
    assert others.fingerprint != everything.fingerprint
    assert f"1 pictures are left out, which are in {tested}" in caplog.text
    with pytest.raises(CorekitError, match=r"none\.json does not exist: data\.dataset\.without"):
        CocoInstances(str(tmp_path), without=["none.json"])
    with pytest.raises(CorekitError, match="no annotated pictures"):
        RefCoco(str(tmp_path), split="testA", without=[tested])
