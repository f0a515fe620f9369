"""RefCOCO's phrases in MDETR's JSON files."""

import json
from pathlib import Path
from typing import Any

import pytest

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.dense.refcoco import RefCoco
from tests.data.datasets.dense.made_up import annotation, picture


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
