"""Records name the data set that was evaluated."""

from typing import Any

import numpy as np
import pytest

from corekit.data.datasets.base import dataset_info
from corekit.evaluation.base import Result
from corekit.recipes.schema import EvaluatorConfig


class Flowers:
    fields = ("image", "label")
    shard_sizes = np.array([3])
    fingerprint = "flowers"

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def decode(self, handle: int) -> dict[str, Any]:
        return {"key": str(handle)}


class Named(Flowers):
    name = "flowers_102"
    class_names = ("rose", "tulip")


def test_a_record_has_the_name_that_the_data_set_gives_itself() -> None:
    named = Result.on(Named(), 3, {"top1": 0.5}, chosen=1).record(10, 640, "probe")
    assert named == {"step": 10, "samples": 640, "evaluator": "probe", "dataset": "flowers_102",
                     "evaluated": 3, "metrics": {"top1": 0.5}, "chosen": 1}
    assert Result.on(Flowers(), 3, {}).dataset == "flowers"


def test_what_could_not_be_read_is_in_the_line_and_the_record() -> None:
    result = Result.on(Flowers(), 2, {"top1": 0.5})
    assert str(result) == "2 samples (1 more cannot be read) of flowers: top1 50.00%"
    assert result.record(None, None, "probe")["unreadable"] == 1


@pytest.mark.parametrize(("allowed", "fails"), [(None, True), (0.3, True), (0.4, False)])
def test_an_evaluation_fails_above_a_share_of_lost_samples(allowed: float | None,
                                                           fails: bool) -> None:
    config = EvaluatorConfig("probe", label="eyes", max_bad_fraction=allowed)
    problem = Result.on(Flowers(), 2, {"top1": 0.5}).problem(config)
    assert (problem is not None) == fails
    if problem is not None:
        limit = f"evaluators.eyes.max_bad_fraction={allowed or 0.01:g}"
        assert f"1 of 3 samples, more than {limit}" in problem
    assert Result.on(Flowers(), 3, {}).problem(config) is None


def test_what_a_data_set_does_not_say_has_a_default() -> None:
    plain, named = dataset_info(Flowers()), dataset_info(Named())
    assert (plain.class_names, plain.templates, plain.num_classes) == ((), (), None)
    assert named.class_names == ("rose", "tulip")
