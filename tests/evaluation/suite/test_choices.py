"""Choices among candidates: what is kept of an instance, where scores tie or a picture is lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from corekit.evaluation.base import EvalModel
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.suite import Suite
from corekit.evaluation.suite.tasks.choices import Matching, Selection, WinoGAViL
from corekit.evaluation.text_features import TextFeatures
from tests.evaluation.known import Table, eval_model, on_ranks
from tests.evaluation.suite.on_disk import (
    Counting,
    picture,
    write_choices,
    write_sets,
    write_shards,
)

ROOT3 = 3**0.5
# of pictures by their number, and of sentences by theirs; cosines are those of 0, 60 or 90 degrees
IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, ROOT3]])
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [ROOT3, 1.0]])


def each_of(folder: Path, choices: list[tuple[list[int], list[str], list[int]]],
            lost: int | None = None) -> EvalModel:
    content = [{"png": b"no picture" if number == lost else picture(number)} for number in range(3)]
    write_shards(folder, content, shards=1)
    write_choices(folder, choices)
    return eval_model(Table(IMAGES, TEXTS))


def the_set(task: str) -> EvalSet:
    return EvalSet("it", "It", (), task, "accuracy")


def test_wrong_captions_above_the_best_right_one_and_equal_to_it(tmp_path: Path) -> None:
    model = each_of(tmp_path, [([0], ["0", "1"], [0]), ([0], ["1", "0"], [0]),
                               ([0], ["0", "2", "1"], [0]), ([0], ["1", "0", "3"], [0, 1])])
    task = Selection(str(tmp_path), the_set("selection"), 2)
    predictions = task.predict(model, TextFeatures(model))
    assert predictions["above"].tolist() == [0, 1, 0, 0]
    assert predictions["tied"].tolist() == [0, 0, 1, 0]  # sentences 0 and 2 have one direction
    assert task.figures(predictions)["accuracy"].value == pytest.approx((1 + 0 + 0.5 + 1) / 4)


def test_each_picture_has_its_own_caption_first(tmp_path: Path) -> None:
    model = each_of(tmp_path, [([0, 1], ["0", "1"], [0, 1]), ([0, 1], ["1", "0"], [1, 0])])
    task = Matching(str(tmp_path), the_set("matching"), 2)
    predictions = task.predict(model, TextFeatures(model))
    assert predictions["scores"].tolist() == [[[1, 0], [0, 1]]] * 2
    assert task.figures(predictions)["group_accuracy"].value == 1


def test_as_many_pictures_are_chosen_as_belong_to_a_cue(tmp_path: Path) -> None:
    model = each_of(tmp_path, [([0, 1, 2], ["0"], [0, 2]), ([0, 1, 2], ["0"], [1]),
                               ([2, 0, 1], ["3"], [0])])
    task = WinoGAViL(str(tmp_path), the_set("winogavil"), 2)
    predictions = task.predict(model, TextFeatures(model))
    # the cue at 30 degrees is as near to picture 2, at 60, as to picture 0, at 0: the first counts
    assert predictions["jaccard"].tolist() == [1, 0, 1]
    assert predictions["candidates"].tolist() == [3, 3, 3]


def test_instances_of_a_picture_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    model = each_of(tmp_path, [([0], ["0", "1"], [0]), ([1], ["0", "1"], [0])], lost=1)
    task = Selection(str(tmp_path), the_set("selection"), 2)
    predictions = task.predict(model, TextFeatures(model))
    assert task.count(predictions) == 1
    assert predictions["above"].tolist() == [0]


def test_what_one_rank_alone_sees_is_evaluated_by_all(tmp_path: Path) -> None:
    table = write_sets(tmp_path / "sets")
    suite = Suite(str(table), str(tmp_path / "sets"), batch_size=3)
    alone = replace(eval_model(Counting()), fingerprint="weights")
    expected = suite(replace(alone, store=tmp_path / "disk0"))

    def on_its_own_disk(model: EvalModel) -> object:
        return suite(replace(model, store=tmp_path / f"disk{model.rank}")).metrics

    for metrics in on_ranks(on_its_own_disk, alone, 2):  # type: ignore[arg-type]
        assert metrics == expected.metrics
    assert not np.isnan(list(expected.metrics.values())).any()
