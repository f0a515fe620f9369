"""COCO's categories as labels: rows by the order of category numbers, whatever the order of the
file, and what is refused.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.coco import CocoLabels
from corekit.errors import CorekitError

TOLD: dict[str, Any] = {
    "images": [{"id": 9, "file_name": "b.jpg"}, {"id": 4, "file_name": "a.jpg"},
               {"id": 5, "file_name": "gone.jpg"}],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"},
                   {"id": 13, "name": "stop sign"}],
    "annotations": [{"image_id": 9, "category_id": 90}, {"image_id": 9, "category_id": 1},
                    {"image_id": 9, "category_id": 90}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("annotations", "val2017"):
        (tmp_path / folder).mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (8, 6), colour).save(tmp_path / "val2017" / f"{name}.jpg")
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(TOLD))
    return tmp_path


def test_rows_are_the_places_of_categories(root: Path) -> None:
    source = CocoLabels(str(root), "val2017")
    assert (source.class_names, source.num_classes) == (["person", "stop sign", "toothbrush"], 3)
    assert source.shard_sizes.tolist() == [3]
    first, second, gone = source.read(0, 0, 3)
    sample = source.decode(first)
    assert (sample["key"], sample["label_rows"].tolist(),
            sample["label_rows"].dtype) == ("val2017/b", [0, 2], np.int32)
    assert sample["image"].convert("RGB").getpixel((0, 0))[2] > 200
    assert source.decode(second)["label_rows"].shape == (0,), "no objects, no rows"
    with pytest.raises(BadSampleError):
        source.decode(gone)
    assert source.read(0, 1, 1)[0][0].key == "val2017/a"


def test_what_is_not_cocos_is_refused(root: Path) -> None:
    with pytest.raises(CorekitError, match=r"instances_train2017.json does not exist: data.root is "
                                           r"a folder with COCO's"):
        CocoLabels(str(root))
    file = root / "annotations" / "instances_val2017.json"
    for content in ("{", "[]",
                    json.dumps({**TOLD, "annotations": [{"image_id": 9, "category_id": 2}]})):
        file.write_text(content)
        with pytest.raises(CorekitError, match="is not as COCO's"):
            CocoLabels(str(root), "val2017")
    assert CocoLabels(None).shard_sizes.sum() == 0
