"""Nearest neighbours against a loop over every pair."""

import math
from collections import defaultdict

import pytest
import torch

from corekit import CorekitError
from corekit.evaluation.classification.knn import NearestNeighbours
from tests.evaluation.known import Numbered, Table, eval_model, on_ranks

CLASSES, TRAIN, TEST = 7, 60, 40


def made() -> tuple[Table, Numbered, Numbered]:
    generator = torch.Generator().manual_seed(5)
    label = torch.randint(0, CLASSES, (TRAIN + TEST,), generator=generator)
    features = torch.randn(CLASSES, 5, generator=generator)[label] + torch.randn(
        TRAIN + TEST, 5, generator=generator)
    # lengths that do not matter
    features *= torch.rand(TRAIN + TEST, 1, generator=generator) * 9 + 1
    label[-1] = CLASSES + 3  # a class that no neighbour has
    return (Table(features), Numbered(range(TRAIN), label[:TRAIN].tolist(), bad=[11]),
            Numbered(range(TRAIN, TRAIN + TEST), label[TRAIN:].tolist(), bad=[2]))


def by_hand(table: Table, train: Numbered, test: Numbered, k: int,
            temperature: float) -> dict[str, float]:
    unit = (table.images.double() / table.images.double().norm(dim=1, keepdim=True)).tolist()
    firsts, fives, by_class = [], [], defaultdict(list)
    for index, number in enumerate(test.numbers):
        if index in test.bad:
            continue
        pairs = sorted(
            ((sum(a * b for a, b in zip(unit[number], unit[other])), train.values["label"][where])
             for where, other in enumerate(train.numbers) if where not in train.bad),
            reverse=True)[:k]
        votes: dict[int, float] = defaultdict(float)
        for cosine, label in pairs:
            votes[label] += math.exp(cosine / temperature)
        ranked = sorted(votes, key=lambda label: -votes[label])
        answer = test.values["label"][index]
        firsts.append(ranked[0] == answer)
        fives.append(answer in ranked[:5])
        by_class[answer].append(firsts[-1])
    recalls = [sum(hits) / len(hits) for hits in by_class.values()]
    return {"top1": sum(firsts) / len(firsts), "top5": sum(fives) / len(fives),
            "mean_per_class_recall": sum(recalls) / len(recalls)}


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize(("batch_size", "block"), [(100, 100), (6, 9), (1, 1)])
def test_figures_are_those_of_a_loop_over_all_pairs(batch_size: int, block: int,
                                                    temperature: float) -> None:
    model, train, test = made()
    ks = [1, 3, 20, 59]
    result = NearestNeighbours(test, train, ks, temperature, None, batch_size,
                               block)(eval_model(model))
    expected = {k: by_hand(model, train, test, k, temperature) for k in ks}
    assert result.metrics == pytest.approx(
        {f"{name}_k{k}": value for k in ks for name, value in expected[k].items()})
    assert result.samples == TEST - 1
    assert len({tuple(expected[k].values()) for k in ks}) > 2, "the example tells several k apart"
    assert result.metrics["top1_k1"] == result.metrics[
        "top5_k1"], "only classes that somebody voted for are guesses"


def test_votes_weigh_by_nearness() -> None:
    model, train, test = made()
    assert by_hand(model, train, test, 20, 0.07) != by_hand(model, train, test, 20, 1.0)
    result = NearestNeighbours(test, train)(eval_model(model))
    assert result.metrics == pytest.approx(by_hand(model, train, test, 20,
                                                   0.07)), "20 neighbours at 0.07 by default"


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_change_nothing(world: int) -> None:
    model, train, test = made()
    evaluator = NearestNeighbours(test, train, [5, 20], batch_size=9, block=13)
    alone = evaluator(eval_model(model))
    for result in on_ranks(evaluator, eval_model(model), world):
        assert (result.metrics, result.samples) == (alone.metrics, alone.samples)


def test_what_it_cannot_do_is_said() -> None:
    model, train, test = made()
    with pytest.raises(CorekitError, match="k=60 neighbours among 59"):
        NearestNeighbours(test, train, 60)(eval_model(model))
    with pytest.raises(CorekitError, match="`label` field"):
        NearestNeighbours(Numbered(range(2), text=["a", "b"]), train)
    with pytest.raises(CorekitError, match="temperature above 0"):
        NearestNeighbours(test, train, temperature=0.0)
