"""Cross-entropy with smoothed labels against its formula."""

import pytest
import torch
from torch import nn

from corekit import CorekitError
from corekit.linear_output import LinearOutput
from corekit.losses.cross_entropy import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_sum_is_that_of_the_formula(smoothing: float) -> None:
    torch.manual_seed(0)
    hidden, head, label = torch.randn(5, 3).double(), nn.Linear(3, 7).double(), torch.tensor(
        [0, 6, 2, 2, 5])
    target = torch.full((5, 7), smoothing / 7).double()
    target[torch.arange(5), label] += 1 - smoothing
    expected = -(target * head(hidden).log_softmax(1)).sum()
    for logits in (head(hidden), LinearOutput.of(hidden, head)):
        assert torch.allclose(CrossEntropy(smoothing)(logits, label), expected, rtol=1e-12)


def test_labels_and_smoothing_out_of_range_are_told() -> None:
    with pytest.raises(CorekitError, match="a label is 7, but the model has 7 classes: set "
                                           "model.num_classes"):
        CrossEntropy()(torch.zeros(2, 7), torch.tensor([0, 7]))
    with pytest.raises(CorekitError, match="below 1, not 1"):
        CrossEntropy(1.0)


def test_it_is_at_least_float32() -> None:
    assert CrossEntropy()(torch.zeros(2, 7, dtype=torch.bfloat16),
                          torch.tensor([0, 1])).dtype == torch.float32
