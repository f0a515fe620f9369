"""What a loss is for a model that guesses: against the losses themselves."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.linear_output import LinearOutput
from corekit.losses.base import LossEntry
from corekit.losses.binary_cross_entropy import BinaryCrossEntropy
from corekit.losses.contrastive import Contrastive
from corekit.losses.cross_entropy import CrossEntropy
from corekit.losses.next_token import NextToken

FREQUENCIES = torch.tensor([0.6, 0.3, 0.1])


def labels(count: int) -> Tensor:
    """As often as ``FREQUENCIES`` says, for multiples of 10."""
    return torch.repeat_interleave(torch.arange(3), (FREQUENCIES * count).round().long())


def test_features_that_are_all_alike_have_the_loss_of_guessing() -> None:
    features = F.normalize(torch.ones(24, 4), dim=1)
    loss = Contrastive()(features, features, torch.tensor(14.0))
    assert Contrastive().guessing(24) == (pytest.approx(float(loss)), "ln 24")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_frequencies_of_classes_have_the_loss_of_guessing(smoothing: float) -> None:
    entry, label = CrossEntropy(label_smoothing=smoothing), labels(1000)
    best = (1 - smoothing) * FREQUENCIES + smoothing / 3
    loss = entry(best.log().expand(1000, 3), label) / 1000
    hidden = torch.empty(2, 8, device="meta")
    for logits in (torch.empty(2, 3, device="meta"),
                   LinearOutput(hidden, torch.empty(3, 8, device="meta"), None)):
        guess, formula = entry.guessing(logits, label)
        assert guess == pytest.approx(float(loss), abs=0.002)
        assert formula == "the entropy of the labels"


def test_few_labels_of_many_classes_say_nothing_of_their_frequencies() -> None:
    logits = torch.empty(2, 1000, device="meta")
    label = torch.randint(1000, (64,), generator=torch.Generator().manual_seed(0))
    assert CrossEntropy().guessing(logits, label) == (pytest.approx(math.log(1000)), "ln 1000")
    assert CrossEntropy().guessing(logits, label[:0]).loss == pytest.approx(math.log(1000))


def test_the_frequencies_of_many_labels_have_the_loss_of_guessing() -> None:
    generator = torch.Generator().manual_seed(0)
    there = torch.rand(2000, 3, generator=generator) < FREQUENCIES
    rows, offsets = there.nonzero()[:, 1], F.pad(there.sum(1).cumsum(0), (1, 0))
    loss = BinaryCrossEntropy()(FREQUENCIES.logit().expand(2000, 3), rows, offsets) / 2000
    guess = BinaryCrossEntropy().guessing(rows, offsets)
    assert guess.loss == pytest.approx(float(loss), rel=0.01)


def test_tokens_that_count_have_their_own_frequencies() -> None:
    end, content = 3, labels(990)
    text = torch.cat([content.view(-1, 10), torch.tensor([[end, 2]]).expand(99, 2)], 1)
    frequencies = torch.bincount(text[:, :11].flatten()) / (99 * 11)
    guess = NextToken(end_token=end).guessing(torch.empty(2, 12, 4, device="meta"), text)
    assert guess.loss == pytest.approx(float(torch.special.entr(frequencies).sum()), abs=0.005)


def test_a_loss_need_not_know_what_guessing_gives() -> None:
    assert LossEntry.of(lambda logits: logits.sum()).guessing is None
    assert LossEntry.of(Contrastive()).guessing is not None
