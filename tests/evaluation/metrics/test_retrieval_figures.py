"""Figures of retrieval from ranks: by hand, and with captions that are alike."""

import numpy as np
import pytest

from corekit.evaluation.figure import Predictions
from corekit.evaluation.metrics.retrieval import retrieval_figures


def ranks(image: list[tuple[int, int, int]], text: list[tuple[int, int, int]]) -> Predictions:
    above, tied, right = np.array(image).T
    text_above, text_tied, owner = np.array(text).T
    return {"image_above": above, "image_tied": tied, "image_right": right,
            "text_above": text_above, "text_tied": text_tied, "text_owner": owner}


def test_by_hand_ties_averaged() -> None:
    figures = retrieval_figures(ranks(
        [(0, 0, 1), (0, 1, 1), (4, 0, 2), (9, 1, 1)],
        [(0, 0, 0), (0, 2, 1), (1, 0, 2), (5, 0, 2), (12, 0, 3)]))
    values = {name: figure.value for name, figure in figures.items()}
    expected = {"image_to_text_r1": (1 + 1 / 2) / 4, "image_to_text_r5": 3 / 4,
                "image_to_text_r10": 3.5 / 4, "text_to_image_r1": (1 + 1 / 3) / 5,
                "text_to_image_r5": 3 / 5, "text_to_image_r10": 4 / 5}
    expected["mean_r1"] = (expected["image_to_text_r1"] + expected["text_to_image_r1"]) / 2
    assert values == pytest.approx(expected)
    assert figures["text_to_image_r1"].samples == 5
    assert figures["mean_r1"].samples == figures["image_to_text_r1"].samples == 4


def test_captions_of_an_image_that_agree_count_once() -> None:
    """Five captions that always share their fate are no more certain than one."""
    hit = np.random.default_rng(0).random(400) < 0.6
    of_image = [(int(not each), 0, 1) for each in hit]
    single = [(int(not each), 0, number) for number, each in enumerate(hit)]
    five = [each for each in single for _ in range(5)]
    one, many = (retrieval_figures(ranks(of_image, text)) for text in (single, five))
    for name in ("text_to_image_r1", "mean_r1"):
        assert many[name].value == pytest.approx(one[name].value)
        assert many[name].standard_error == pytest.approx(one[name].standard_error)
        assert one[name].standard_error == pytest.approx((.6 * .4 / 400)**0.5, rel=0.05)
