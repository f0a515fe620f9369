"""Cross-entropy over a vocabulary in blocks of rows: torch's value and gradients, and which tokens
count.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from corekit import CorekitError
from corekit.linear_output import LinearOutput
from corekit.losses.cross_entropy import CrossEntropy, summed_cross_entropy
from corekit.losses.next_token import NextToken

END = 9


@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradients_are_those_of_held_logits(block: int, smoothing: float,
                                                      bias: bool) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(10, 3).double().requires_grad_(), nn.Linear(3, 7, bias=bias).double()
    label = torch.randint(7, (10,))
    expected = F.cross_entropy(head(hidden), label, reduction="sum", label_smoothing=smoothing)
    actual = summed_cross_entropy(LinearOutput.of(hidden, head), label, smoothing, block)
    assert torch.allclose(actual, expected, rtol=1e-12)
    leaves = [hidden, *head.parameters()]
    for mine, theirs in zip(torch.autograd.grad(3 * actual, leaves),
                            torch.autograd.grad(3 * expected, leaves), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_as_near_as_that_of_torch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, head, label = torch.randn(64, 32), nn.Linear(32, 500), torch.randint(500, (64,))
    exact = torch.autograd.grad(F.cross_entropy(head(hidden), label, reduction="sum"),
                                list(head.parameters()))
    with torch.autocast("cpu", dtype=dtype):
        output, plain = LinearOutput.of(hidden, head), head(hidden)
    actual = summed_cross_entropy(output, label, 0.0, 16)
    theirs = F.cross_entropy(plain.float(), label, reduction="sum")
    assert actual.dtype == torch.float32
    assert actual.item() == pytest.approx(theirs.item(), rel=1e-4)
    for mine, other, true in zip(torch.autograd.grad(actual, list(head.parameters())),
                                 torch.autograd.grad(theirs, list(head.parameters())), exact,
                                 strict=True):
        assert mine.dtype == torch.float32
        assert (mine - true).norm() <= 1.5 * (other - true).norm() + 1e-3 * true.norm()


def test_logits_far_from_zero_are_no_trouble() -> None:
    head = nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4], [-1e4], [9e3]]))
    assert summed_cross_entropy(LinearOutput.of(torch.ones(1, 1), head), torch.tensor([2]), 0.0,
                                8).item() == 1000


def test_tokens_count_up_to_the_first_end() -> None:
    torch.manual_seed(0)
    # padded with the end, with others
    text = torch.tensor([[1, 2, END, END], [3, END, 0, 4], [1, 2, 3, 4], [END, 1, END, 0]])
    counts = [3, 2, 4, 1]
    hidden, head = torch.randn(4, 4, 5), nn.Linear(5, 12)
    log_probability = head(hidden).log_softmax(2)
    expected = -sum(log_probability[row, position, text[row, position]]
                    for row, count in enumerate(counts) for position in range(count))
    loss = NextToken(END, block=3)
    assert int(loss.weights(text)) == sum(counts)
    for logits in (head(hidden), LinearOutput.of(hidden, head)):
        assert torch.allclose(loss(logits, text), expected)
    with pytest.raises(CorekitError, match=r"a token is 12, but the model knows 12: set "
                                           r"model.vocab_size"):
        loss(head(hidden), torch.full((4, 4), 12))
    loss(head(hidden), torch.tensor([[END, 99, 99, 99]] * 4))  # what does not count may be anything
    for make in (NextToken, CrossEntropy):
        with pytest.raises(CorekitError, match="needs a block of 1 or more, not 0"):
            make(block=0)


def test_nothing_to_say_is_zero() -> None:
    hidden, head = torch.randn(0, 4, 5).requires_grad_(), nn.Linear(5, 12)
    NextToken(END)(LinearOutput.of(hidden, head), torch.zeros(0, 4, dtype=torch.int64)).backward()
    assert head.weight.grad is not None
    assert not head.weight.grad.any()
