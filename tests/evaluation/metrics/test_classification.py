"""Figures of classification against loops over samples, and against moments of simulated sets."""

import numpy as np
import pytest
from numpy.typing import NDArray

from corekit.evaluation.figure import Predictions
from corekit.evaluation.metrics.classification import classification_figures, f1_macro

Integers = NDArray[np.int64]


def predictions(samples: int, classes: int, seed: int, groups: int = 3) -> dict[str, Integers]:
    draws = np.random.default_rng(seed)
    label = draws.integers(0, classes, samples)
    label[label == 1] = 0  # a class that does not occur
    best = np.argsort(draws.random((samples, classes)) - (np.arange(classes) == label[:, None]) * .3
                      )[:, :5]
    return {"label": label, "best": best, "classes": np.array(classes),
            "tied": draws.random(samples) < 0.1,
            "metadata": np.stack([label * 0, draws.integers(0, groups, samples)], 1)}


def test_figures_are_those_of_loops() -> None:
    each = predictions(200, 7, 0)
    label, best = each["label"].tolist(), each["best"].tolist()
    figures = classification_figures(each, group=1)
    first = [guesses[0] for guesses in best]
    top1 = [guess == right for guess, right in zip(first, label)]
    top5 = [right in guesses for guesses, right in zip(best, label)]
    recalls, f1 = [], []
    for number in sorted(set(label)):
        hits = sum(hit for hit, right in zip(top1, label) if right == number)
        recalls.append(hits / label.count(number))
        f1.append(2 * hits / (label.count(number) + first.count(number)))
    expected = {"top1": sum(top1) / 200, "top5": sum(top5) / 200, "ties": each["tied"].mean(),
                "mean_per_class_recall": sum(recalls) / 6, "f1_macro": sum(f1) / 6}
    for name, hit in {"top1": top1, "top5": top5}.items():
        of_groups = [np.mean([value for value, of in zip(hit, each["metadata"][:, 1]) if of == own])
                     for own in range(3)]
        expected |= {f"{name}_group_{own}": value for own, value in enumerate(of_groups)}
        expected[f"worst_group_{name}"] = min(of_groups)
        assert figures.pop(f"worst_group_{name}_of_100").value is None, "none has 100 samples"
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(expected)
    assert figures["top1"].standard_error == pytest.approx(
        (expected["top1"] * (1 - expected["top1"]) / 200)**0.5), "binomial"


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_top5_is_none_below_five_classes(classes: int) -> None:
    figures = classification_figures(predictions(50, classes, 1), group=1)
    assert (figures["top5"].value is None) == (classes < 5)
    assert any("top5_group" in name for name in figures) == (classes >= 5)


def region_predictions(right: list[int], samples: list[int]) -> Predictions:
    """Regions in which so many of so many are right, as FMoW's are."""
    hit = np.concatenate([np.arange(n) < k for k, n in zip(right, samples)])
    region = np.repeat(np.arange(len(samples)), samples)
    return {"label": np.zeros(len(hit), np.int64), "best": np.where(hit, 0, 1)[:, None],
            "tied": hit & False, "classes": np.array(62), "metadata": region[:, None]}


def test_both_rules_of_the_worst_group() -> None:
    """FMoW's region 5 has four pictures: the published rule counts it, the other does not."""
    right, samples = [856, 1239, 396, 1697, 196, 0], [4963, 5858, 2593, 8024, 666, 4]
    figures = classification_figures(region_predictions(right, samples), group=0)
    worst, of_100 = figures["worst_group_top1"], figures["worst_group_top1_of_100"]
    assert (worst.value, worst.samples) == (0, 4)
    assert of_100.value == pytest.approx(0.15271885693073273, rel=1e-7)
    assert of_100.samples == 2593
    assert figures["top1_group_4"].value == pytest.approx(196 / 666)


def test_a_group_without_samples_has_no_figure() -> None:
    figures = classification_figures(region_predictions([5, 0, 3], [10, 0, 10]), group=0)
    assert "top1_group_1" not in figures
    assert figures["worst_group_top1"].value == 0.3


def test_the_standard_error_of_f1_is_its_spread() -> None:
    draws = np.random.default_rng(3)
    confusion = draws.dirichlet(np.ones(4) * 0.6, 4) * np.array([[.5], [.3], [.15], [.05]])
    outcomes = [divmod(int(cell), 4) for cell in range(16)]
    figures = []
    for _ in range(300):
        cells = draws.choice(16, 400, p=confusion.ravel())
        label, guess = np.array(outcomes)[cells].T
        figures.append(f1_macro(label, guess).figure())
    spread = np.std([figure.value for figure in figures])
    claimed = np.mean([figure.standard_error for figure in figures])
    assert claimed == pytest.approx(spread, rel=0.12)
