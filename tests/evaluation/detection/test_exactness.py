"""The detection evaluator's figures are pycocotools' of the files it writes, whoever computes."""

import contextlib
import io
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from corekit.data.outlines import mask_functions
from corekit.errors import CorekitError
from corekit.evaluation.base import Result, write_files
from corekit.evaluation.detection.detection import Detection
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


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_change_nothing(ranks: int) -> None:
    results = on_ranks(Detection(Annotated(), PREPROCESS, batch_size=2), guesses_model(), ranks)
    for result in results:
        assert result.metrics == alone().metrics
        assert result.samples == PICTURES
    assert results[0].files == alone().files
    assert results[0].details == alone().details


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
