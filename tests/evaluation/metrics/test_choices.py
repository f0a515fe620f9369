"""Choices among candidates by hand."""

import numpy as np
import pytest

from corekit.evaluation.metrics.choices import (
    matching_figures,
    selection_figures,
    winogavil_figures,
)


def test_a_tie_of_a_selection_is_a_share() -> None:
    figures = selection_figures({"above": np.array([0, 0, 1, 0, 2]),
                                 "tied": np.array([0, 1, 0, 2, 1])})
    assert figures["accuracy"].value == pytest.approx((1 + 1 / 2 + 0 + 1 / 3 + 0) / 5)
    assert figures["ties"].value == 2 / 5, "a tie behind a better wrong one decides nothing"


def test_a_model_that_scores_all_alike_is_at_chance() -> None:
    zeros = np.zeros(8, np.int64)
    assert selection_figures({"above": zeros, "tied": zeros + 1})["accuracy"].value == 0.5
    alike = matching_figures({"scores": np.full((8, 2, 2), 0.25, np.float32)})
    assert [alike[f"{name}_accuracy"].value for name in ("text", "image", "group")] == [
        1 / 4, 1 / 4, 1 / 16]


def test_winogrounds_three_accuracies() -> None:
    """Picture i with caption j: rows choose captions (text), columns choose pictures (image)."""
    right = [[0.9, 0.1], [0.2, 0.8]]
    text_only = [[0.9, 0.8], [0.2, 0.3]]  # of caption 1, picture 0 scores higher
    image_only = [[0.9, 0.2], [0.8, 0.3]]
    tied = [[0.9, 0.9], [0.2, 0.95]]
    figures = matching_figures({"scores": np.array([right, text_only, image_only, tied])})
    values = {name: figure.value for name, figure in figures.items()}
    assert values == {"text_accuracy": 2.5 / 4, "image_accuracy": 3 / 4,
                      "group_accuracy": 1.5 / 4, "ties": 1 / 4}


def test_jaccard_by_number_of_candidates() -> None:
    figures = winogavil_figures({
        "jaccard": np.array([1, 0.5, 0, 0.25, 1]), "candidates": np.array([5, 5, 6, 10, 12]),
        "tied": np.array([False, True, False, False, False])})
    values = {name: figure.value for name, figure in figures.items()}
    assert values == pytest.approx({
        "jaccard": 0.55, "jaccard_5": 0.75, "jaccard_6": 0, "jaccard_10": 0.25, "jaccard_12": 1,
        "jaccard_5_6": 0.5, "jaccard_10_12": 0.625, "ties": 0.2})
    assert figures["jaccard_10_12"].samples == 2
    few = winogavil_figures({"jaccard": np.ones(1), "candidates": np.array([5]),
                             "tied": np.zeros(1, bool)})
    assert few["jaccard_10_12"].value is None
