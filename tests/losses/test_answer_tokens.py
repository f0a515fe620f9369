"""The loss of answers: the mean cross-entropy of the tokens that are learned, however split."""

import pytest
import torch
import torch.nn.functional as F

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.losses.answer_tokens import AnswerTokens

TOKENS, WIDTH, CLASSES = 40, 8, 13


def batch() -> tuple[LinearOutput, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, dtype=torch.float64)
    weight = torch.randn(CLASSES, WIDTH, dtype=torch.float64)
    conversation = torch.randint(CLASSES, (TOKENS,))
    mask = torch.rand(TOKENS) < 0.4
    conversation[~mask] = -1  # places of pictures are never learned
    return LinearOutput(hidden, weight, None), conversation, mask


@pytest.mark.parametrize("block", [3, 1024])
def test_it_is_the_cross_entropy_of_answers(block: int) -> None:
    logits, conversation, mask = batch()
    loss = AnswerTokens(block)
    expected = F.cross_entropy(logits.dense()[mask], conversation[mask], reduction="sum")
    for form in (logits, logits.dense()):
        torch.testing.assert_close(loss(form, conversation, mask), expected, rtol=1e-12, atol=0)
    assert int(loss.weights(mask)) == int(mask.sum())


def test_sums_of_micro_batches_add_up() -> None:
    logits, conversation, mask = batch()
    loss = AnswerTokens()
    parts = [loss(logits._replace(hidden=logits.hidden[rows]), conversation[rows], mask[rows])
             for rows in torch.arange(TOKENS).split([7, 20, 13])]
    torch.testing.assert_close(torch.stack(parts).sum(), loss(logits, conversation, mask),
                               rtol=1e-12, atol=0)


def test_a_batch_without_answers_is_nothing() -> None:
    logits, conversation, mask = batch()
    assert AnswerTokens()(logits, conversation, torch.zeros_like(mask)) == 0


def test_a_token_that_the_model_does_not_know() -> None:
    logits, conversation, mask = batch()
    conversation[mask.nonzero()[0, 0]] = CLASSES
    with pytest.raises(CorekitError, match="a token is 13, but the language model knows 13"):
        AnswerTokens()(logits, conversation, mask)
