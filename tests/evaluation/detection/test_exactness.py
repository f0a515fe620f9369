"""The detection evaluator's figures are pycocotools' of the files it writes, whoever computes."""

import contextlib
import io
import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from corekit.data.datasets.dense.coco_instances import CocoInstances
from corekit.data.outlines import mask_functions, run_lengths
from corekit.errors import CorekitError
from corekit.evaluation.base import Result, write_files
from corekit.evaluation.detection.detection import Detection
from corekit.evaluation.metrics import coco
from corekit.evaluation.metrics.coco import SUMMARY
from tests.evaluation.detection.annotated import (
    MANY,
    PICTURES,
    PREPROCESS,
    Annotated,
    Guesses,
    guesses_model,
)
from tests.evaluation.known import on_ranks


@cache
def alone() -> Result:
    return Detection(Annotated(), PREPROCESS, batch_size=2)(guesses_model())


def reference(result: Result, folder: Path) -> dict[str, float]:
    """What pycocotools says of the files as anybody would call it."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    write_files(folder / "files", result.files)
    figures = {}
    for kind, pycocotools_kind in (("box", "bbox"), ("mask", "segm")):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(folder / "files/ground_truth.json"))
            results = truth.loadRes(str(folder / f"files/{kind}_results.json"))
            evaluation = COCOeval(truth, results, pycocotools_kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        figures |= {f"{kind}_{name}": value for name, value in zip(SUMMARY, evaluation.stats)}
    return figures


def test_figures_are_pycocotools_to_the_bit(tmp_path: Path) -> None:
    result = alone()
    assert result.metrics == reference(result, tmp_path)
    assert len(result.metrics) == 24
    assert len({*result.metrics.values()}) > 15  # they say something
    truth = json.loads(result.files["ground_truth.json"])
    assert {each["iscrowd"] for each in truth["annotations"]} == {0, 1}
    assert {each["area"] for each in truth["annotations"]} == {500.0, 5000.0, 50000.0}
    with_objects = {each["image_id"] for each in truth["annotations"]}
    assert len(truth["images"]) == PICTURES > len(with_objects)
    boxes = json.loads(result.files["box_results.json"])
    of_classes = np.unique([each["category_id"] for each in boxes
                            if each["image_id"] == MANY + 1], return_counts=True)[1]
    assert of_classes.max() > 100
    assert len(Guesses()._of(MANY)["boxes"]) == of_classes.sum()


def test_groups_of_categories_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "AT_A_TIME", 10)
    result = Detection(Annotated(), PREPROCESS, batch_size=2)(guesses_model())
    assert (result.metrics, result.details) == (alone().metrics, alone().details)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_change_nothing(ranks: int) -> None:
    results = on_ranks(Detection(Annotated(), PREPROCESS, batch_size=2), guesses_model(), ranks)
    for result in results:
        assert result.metrics == alone().metrics
        assert result.samples == PICTURES
    assert results[0].files == alone().files
    assert results[0].details == alone().details


def coco_folder(root: Path) -> Path:
    """The annotated pictures as COCO lays them out; numbers have gaps, crowds run lengths."""
    images, objects, dataset = [], [], Annotated()
    (root / "val2017").mkdir(parents=True)
    for handle in dataset.read(0, 0, PICTURES):
        sample, number = dataset.decode(handle), 7 * handle + 3
        sample["image"].save(root / f"val2017/{number:012d}.png")
        images.append({"id": number, "file_name": f"{number:012d}.png",
                       "width": sample["image"].width, "height": sample["image"].height})
        for box, label, crowd, area, mask in zip(*(sample[name] for name in (
                "boxes", "box_labels", "iscrowd", "areas", "masks"))):
            left, top, right, bottom = box.round(2).tolist()
            objects.append({
                "id": 10 * len(objects) + 5, "image_id": number,
                "category_id": (3, 17, 44)[label], "iscrowd": int(crowd), "area": area,
                "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "segmentation": run_lengths(mask) if crowd else [[
                    left, top, right, top, right, bottom - 0.5, left, bottom]]})
    content = {"images": images, "annotations": objects, "categories": [
        {"id": number, "name": str(number)} for number in (3, 17, 44)]}
    (root / "annotations").mkdir()
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def test_cocos_own_file_gives_the_same_figures(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "coco")
    dataset = CocoInstances(str(root), "val2017")
    result = Detection(dataset, PREPROCESS)(guesses_model())
    official = root / "annotations/instances_val2017.json"
    files = {**result.files, "ground_truth.json": official.read_bytes()}
    assert result.metrics == reference(replace(result, files=files), tmp_path)


def test_pycocotools_stands_in_and_a_sentence_for_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = alone().metrics
    mask_functions.cache_clear()
    for module in ("faster_coco_eval", "faster_coco_eval.core"):
        monkeypatch.setitem(sys.modules, module, None)
    assert Detection(Annotated(), PREPROCESS)(guesses_model()).metrics == expected
    mask_functions.cache_clear()
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(CorekitError, match=r"pip install 'corekit\[detection\]'"):
        Detection(Annotated(), PREPROCESS)
    mask_functions.cache_clear()
