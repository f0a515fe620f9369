"""Figures of counts: which there are of few classes."""

import pytest
import torch

from corekit.evaluation.metrics.accuracy import accuracy, count_hits, figures
from corekit.evaluation.metrics.ties import best_classes


@pytest.mark.parametrize("classes", [2, 4, 5, 9])
def test_no_top5_below_five_classes(classes: int) -> None:
    """It would be 1 whatever the model gives; published files have null there."""
    generator = torch.Generator().manual_seed(classes)
    label = torch.arange(40) % 2  # more classes may be guessed than occur
    best = best_classes(torch.randn(40, classes, generator=generator))
    for metrics in (figures(count_hits(best, label, classes)), accuracy(best, label)):
        assert ("top5" in metrics) == (classes >= 5)
        assert metrics["top1"] == pytest.approx((best[:, 0] == label).double().mean())
