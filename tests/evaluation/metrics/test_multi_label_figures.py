"""Mean average precision of stored scores against the other implementation and its spread."""

import numpy as np
import pytest
import torch

from corekit import CorekitError
from corekit.evaluation.metrics.average_precision import average_precision as of_columns
from corekit.evaluation.metrics.multi_label import average_precision, multi_label_figures


def draw(samples: int, seed: int, distinct: int | None = None) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed)
    hidden = draws.normal(size=(samples, 6))
    scores = hidden + draws.normal(size=(samples, 6))
    if distinct:
        scores = np.round(scores * distinct) / distinct
    targets = (hidden > np.array([0.3, 0.8, 1.2, 0, 0.5, 9.9])).astype(np.uint8)
    return {"scores": scores.astype(np.float32), "targets": targets}


@pytest.mark.parametrize("distinct", [None, 2])
def test_it_is_the_mean_over_classes_that_have_positives(distinct: int | None) -> None:
    each = draw(80, 0, distinct)
    scores, targets = torch.from_numpy(each["scores"]), torch.from_numpy(each["targets"]) > 0
    expected = of_columns(scores[:, :5], targets[:, :5]).mean()
    figure = multi_label_figures(each)["map_macro"]
    assert figure.value == pytest.approx(float(expected))
    assert figure.samples == 80


def test_clip_benchmarks_loop() -> None:
    each = draw(80, 1)
    precisions = []
    for column in range(5):
        truth = each["targets"][np.argsort(-each["scores"][:, column]), column]
        precision = np.cumsum(truth) / np.arange(1, 81)
        precisions.append(precision[truth > 0].sum() / truth.sum())
    assert multi_label_figures(each)["map_macro"].value == pytest.approx(np.mean(precisions))


@pytest.mark.parametrize("distinct", [None, 2])
def test_influences_are_derivatives_by_weights(distinct: int | None) -> None:
    """A sample's weight of 1 + h is h more of its copies, for a small h by repeating all others."""
    each = draw(30, 2, distinct)
    scores, hit = each["scores"][:, 0], each["targets"][:, 0].astype(float)
    mean, influence = average_precision(scores, hit)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    copies = 2000
    for number in (0, 7, int(hit.argmax())):
        repeats = np.full(30, copies)
        repeats[number] += 1
        moved, _ = average_precision(np.repeat(scores, repeats), np.repeat(hit, repeats))
        assert (moved - mean) * copies == pytest.approx(influence[number], abs=1e-4)


def test_the_standard_error_is_the_spread() -> None:
    figures = [multi_label_figures(draw(150, seed))["map_macro"] for seed in range(150)]
    spread = np.std([figure.value for figure in figures])
    assert np.mean([figure.standard_error for figure in figures]) == pytest.approx(spread, rel=0.15)


def test_no_positive_is_an_error() -> None:
    with pytest.raises(CorekitError, match="no sample of a multi-label set has a class"):
        multi_label_figures({"scores": np.ones((3, 2)), "targets": np.zeros((3, 2), np.uint8)})
