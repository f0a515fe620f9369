"""COCO's pictures with boxes and masks: both folder forms, crowds, and LVIS's files."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from corekit.data.datasets.base import BadSampleError, Source
from corekit.data.datasets.dense.coco_instances import CocoInstances, Lvis
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.transforms.resizing import SquareResize
from corekit.errors import CorekitError
from tests.data.datasets.dense.made_up import annotation, coco, crowd_mask, instances, picture
from tests.data.transforms.test_moving import PIXELS


@pytest.mark.parametrize("folder", ["", "images/"])
def test_objects_are_as_annotated_in_both_folder_forms(tmp_path: Path, folder: str) -> None:
    coco(tmp_path, instances(), "val2017", folder)
    source = pickle.loads(pickle.dumps(CocoInstances(str(tmp_path), "val2017")))
    assert isinstance(source, Source)
    assert source.class_names == ["person", "stop sign", "toothbrush"]
    assert source.category_ids == [1, 13, 90]
    assert source.shard_sizes.tolist() == [4]
    samples = [source.decode(handle) for handle in source.read(0, 0, 4)]
    assert [sample["key"] for sample in samples] == [f"{folder}val2017/{name}" for name in "cadb"]
    assert [sample["image_id"] for sample in samples] == [10, 20, 30, 40]
    assert [len(sample["boxes"]) for sample in samples] == [3, 0, 1, 1]
    first = samples[0]
    assert first["boxes"].tolist() == [[30.5, 10, 50.5, 35.25], [2, 3, 12, 33], [40, 5, 60, 30]]
    assert first["boxes"].dtype == np.float32
    assert first["box_labels"].tolist() == [2, 0, 0]
    assert first["iscrowd"].tolist() == [0, 0, 1]
    assert first["areas"].tolist() == [20 * 25.25 - 1, 299, 499]
    masks = first["masks"].draw()
    assert masks[:2].sum((1, 2)).tolist() == pytest.approx([20 * 25, 300], abs=30)
    assert np.array_equal(masks[2], crowd_mask())
    assert samples[1]["masks"].draw().shape == (0, 40, 60)


def test_training_has_annotated_pictures_and_no_crowds(tmp_path: Path) -> None:
    coco(tmp_path, instances())
    source = CocoInstances(str(tmp_path))
    samples = [source.decode(handle) for handle in source.read(0, 0, 3)]
    assert [sample["image_id"] for sample in samples] == [10, 30, 40]
    assert [len(sample["boxes"]) for sample in samples] == [2, 0, 1], "a crowd alone leaves none"
    everything = CocoInstances(str(tmp_path), crowds=True, unannotated=True)
    assert everything.shard_sizes.tolist() == [4]
    assert everything.decode(everything.read(0, 0, 1)[0])["iscrowd"].tolist() == [0, 0, 1]
    assert everything.fingerprint != source.fingerprint
    assert not source.damage.counts
    assert "masks" not in CocoInstances(str(tmp_path), masks=False).fields


def test_lvis_names_pictures_of_either_split(tmp_path: Path) -> None:
    content = instances()
    for item, split in zip(content["images"], ("train2017", "val2017", "train2017", "train2017")):
        name = item.pop("file_name")
        item.update(coco_url=f"http://images.cocodataset.org/{split}/{name}",
                    neg_category_ids=[13], not_exhaustive_category_ids=[90])
        picture(tmp_path / split / name)
    content["annotations"] = [annotation(1, 20, 13, [1, 1, 5, 5])]
    del content["annotations"][0]["iscrowd"]
    for category, frequency in zip(content["categories"], "rcf"):
        category["frequency"] = frequency
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(content))
    source = Lvis(str(tmp_path), "val")
    samples = [source.decode(handle) for handle in source.read(0, 0, 4)]
    assert [sample["key"] for sample in samples] == ["train2017/c", "val2017/a", "train2017/d",
                                                     "train2017/b"]
    assert samples[1]["box_labels"].tolist() == [1]
    assert samples[1]["iscrowd"].tolist() == [0]
    assert source.frequencies == ["c", "f", "r"]
    assert source.negative_ids[20] == [13]
    assert source.not_exhaustive_ids[40] == [90]


def test_a_picture_that_is_not_there_or_is_another_one(tmp_path: Path) -> None:
    coco(tmp_path, instances())
    (tmp_path / "train2017" / "c.jpg").unlink()
    picture(tmp_path / "train2017" / "b.jpg", size=(61, 40))
    source = CocoInstances(str(tmp_path))
    gone, _, other = source.read(0, 0, 3)
    with pytest.raises(BadSampleError, match=r"train2017/c.jpg does not exist") as error:
        source.decode(gone)
    assert error.value.kind == "missing_file"
    with pytest.raises(BadSampleError, match="has 61 x 40 pixels, and its annotation was made for "
                                             "60 x 40") as error:
        source.decode(other)
    assert error.value.kind == "picture_size"


def test_without_a_root_there_is_nothing() -> None:
    assert CocoInstances(None).shard_sizes.sum() == 0
    with pytest.raises(CorekitError, match=r"instances_train2017.json does not exist: data.root is "
                                           r"a folder with COCO's annotations/ and train2017/"):
        CocoInstances("/nowhere")


def test_batches_of_training_replace_and_count_what_is_bad(tmp_path: Path) -> None:
    coco(tmp_path, instances())
    (tmp_path / "train2017" / "c.jpg").unlink()
    source = CocoInstances(str(tmp_path))
    order = ShuffledOrder(source.shard_sizes, 1, 3, 0)
    streams = Streams(source, order, FixedSize(3, 1), range(1), 0, SquareResize(PIXELS), None)
    part = next(step_batches(streams, 0, 1, 0))
    batch, counts = part.batch, part.batch["box_offsets"].diff().tolist()
    assert {kind: len(keys) for kind, keys in part.bad.items()} == {"missing_file": 1}
    assert set(batch["image_id"].tolist()) <= {30, 40}
    assert counts == [int(number == 40) for number in batch["image_id"].tolist()]
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["masks"].shape == (sum(counts), 32, 32)
    assert batch["masks"].float().mean() > 0.95, "the whole picture is its object"
    assert batch["boxes"].tolist() == [[0, 0, 32, 32]] * sum(counts)
    assert batch["box_labels"].tolist() == [1] * sum(counts)
