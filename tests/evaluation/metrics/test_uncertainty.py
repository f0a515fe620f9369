"""Intervals cover what they should: simulated sets of which the truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from corekit.evaluation.figure import Figure
from corekit.evaluation.metrics.classification import mean_per_class_recall
from corekit.evaluation.metrics.retrieval import retrieval_figures
from corekit.evaluation.metrics.uncertainty import interval, mean_of

Draws = np.random.Generator


def share(draws: Draws) -> tuple[Figure, float]:
    """Top-1 of 711 samples, of which 90 % are right."""
    return mean_of(draws.random(711) < 0.9).figure(), 0.9


def few(draws: Draws) -> tuple[Figure, float]:
    """Top-1 of 40 samples near 1."""
    return mean_of(draws.random(40) < 0.93).figure(), 0.93


def recall(draws: Draws) -> tuple[Figure, float]:
    """Mean recall of 30 classes of 5 to 60 samples, harder and easier ones."""
    count = np.arange(30) % 12 * 5 + 5
    chance = np.linspace(0.3, 0.98, 30)
    label = np.repeat(np.arange(30), count)
    estimate = mean_per_class_recall(label, draws.random(len(label)) < chance[label])
    return estimate.figure(), chance.mean()


def mean_r1(draws: Draws) -> tuple[Figure, float]:
    """400 images with 5 captions, which are hit or missed together for the most part."""
    chance = draws.beta(0.8, 0.5, 400)  # of an image, mean 8/13
    image, text = draws.random(400) < chance, draws.random((400, 5)) < chance[:, None]
    zeros = np.zeros(400, np.int64)
    figures = retrieval_figures({
        "image_above": (~image).astype(int), "image_tied": zeros, "image_right": zeros + 1,
        "text_above": (~text).ravel().astype(int), "text_tied": zeros.repeat(5),
        "text_owner": np.arange(400).repeat(5)})
    return figures["mean_r1"], 0.8 / 1.3


def jaccard(draws: Draws) -> tuple[Figure, float]:
    """854 Jaccard indices of 0, 1/3, 1/2 and 1."""
    values, chances = np.array([0, 1 / 3, 1 / 2, 1]), np.array([.3, .2, .1, .4])
    return mean_of(draws.choice(values, 854, p=chances)).figure(), float(values @ chances)


@pytest.mark.parametrize("draw", [share, few, recall, mean_r1, jaccard])
def test_intervals_cover_the_truth_in_93_to_97_of_100_sets(
        draw: Callable[[Draws], tuple[Figure, float]]) -> None:
    draws, hits = np.random.default_rng(1), []
    for _ in range(500):
        figure, truth = draw(draws)
        low, high = interval(figure) or (1, 0)
        hits.append(low <= truth <= high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_a_binomial_share_has_wilsons_interval() -> None:
    """Wilson 1927: 81 of 263 (Newcombe 1998, table I), 0 of 20 and 1 of 29."""
    for right, samples, low, high in ((81, 263, .2553, .3662), (0, 20, 0, .1611),
                                      (1, 29, .0061, .1718)):
        values = np.arange(samples) < right
        assert interval(mean_of(values).figure()) == pytest.approx((low, high), abs=5e-5)


def test_edges() -> None:
    assert interval(Figure(None, 0)) is None
    assert interval(Figure(0.5, 10)) is None, "a published figure without an error"
    assert interval(mean_of([0.25] * 5).figure()) == (0.25, 0.25)
    assert interval(mean_of([1.0] * 20).figure()) == pytest.approx((1 - .1611, 1), abs=5e-5)
    assert mean_of([]).value is None
