"""That every rank runs the model equally often, whatever there is to run it on: models that are
sharded need it.
"""

import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from corekit import CorekitError, registry
from corekit.evaluation.features import everywhere, in_classes_of
from corekit.evaluation.retrieval.retrieval import Retrieval
from tests.evaluation.known import Numbered, Table, eval_model, on_ranks


class Counting(Table):
    """Counts forward passes by the rank that runs them."""

    def __init__(self, samples: int) -> None:
        super().__init__(torch.randn(samples, 4), torch.randn(samples, 4))
        self.passes: dict[str, Counter[int]] = {"image": Counter(), "text": Counter()}

    def encode_image(self, image: Tensor) -> Tensor:
        self.passes["image"][threading.get_ident()] += 1
        return super().encode_image(image)

    def encode_text(self, text: Tensor) -> Tensor:
        self.passes["text"][threading.get_ident()] += 1
        return super().encode_text(text)


@pytest.mark.parametrize(("samples", "world", "each"), [(23, 5, 2), (4, 3, 1), (9, 2, 2),
                                                        (12, 4, 1)])
def test_ranks_run_the_model_equally_often(samples: int, world: int, each: int) -> None:
    model = Counting(samples)
    # all of the first three
    data = Numbered(range(samples), text=[str(index) for index in range(samples)], bad=[0, 1, 2])
    on_ranks(Retrieval(data, batch_size=3), eval_model(model), world)
    assert sorted(model.passes["image"].values()) == [each] * world
    assert sorted(model.passes["text"].values()) == [1] * world


def test_rows_come_together_where_they_belong() -> None:
    whole = everywhere(eval_model(Counting(1)), 5, torch.tensor([3, 0]),
                       torch.tensor([[1, 2], [3, 4]]))
    assert whole.tolist() == [[3, 4], [0, 0], [0, 0], [1, 2], [0, 0]]


def test_classes_are_compared_by_name() -> None:
    train: Any = SimpleNamespace(class_names=["ant", "bee", "cat"], name="train")
    test: Any = SimpleNamespace(class_names=["ant", "cat"], name="val")
    unnamed: Any = SimpleNamespace()
    label = torch.tensor([0, 1, 1])
    assert in_classes_of(train, test, label).tolist() == [0, 2, 2]
    assert in_classes_of(train, train, label).tolist() == [0, 1, 1]
    assert in_classes_of(unnamed, test, label).tolist() == [0, 1, 1]
    with pytest.raises(CorekitError, match="'train' has classes that 'val', .* has not: bee"):
        in_classes_of(test, train, label)
    with pytest.raises(CorekitError, match="a label is 2, but the data set 'val' has 2 class"):
        in_classes_of(train, test, torch.tensor([2]))


@pytest.mark.parametrize("name", ["linear_probe", "knn", "attentive_probe"])
def test_a_class_that_the_test_part_lacks_shifts_no_label(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(3, 8, generator=generator)
    label = [0, 1, 2] * 20 + [0, 2] * 5
    features = centres[label] + 0.1 * torch.randn(70, 8, generator=generator)
    train, test = Numbered(range(60), label[:60]), Numbered(range(60, 70), [0, 1] * 5)
    train.class_names = ["ant", "bee", "cat"]  # type: ignore[attr-defined]
    test.class_names = ["ant", "cat"]  # type: ignore[attr-defined]
    words = {"attentive_probe": {"epochs": 20, "batch_size": 20, "transform": None,
                                 "learning_rates": [1e-2], "head_width": 8},
             "linear_probe": {"epochs": 20, "batch_size": 20}}
    evaluator = registry.find("evaluator", name).load()(
        dataset=test, train_dataset=train, **words.get(name, {}))
    table = Table(features)
    tokens = lambda image: table.encode_image(image)[:, None]  # noqa: E731
    table.encode_tokens = tokens  # type: ignore[assignment]
    assert evaluator(eval_model(table)).metrics["top1"] == 1.0


def test_the_first_sample_that_cannot_be_read_is_named(caplog: pytest.LogCaptureFixture) -> None:
    data = Numbered(range(9), text=[str(index) for index in range(9)], bad=[2, 5, 7])
    Retrieval(data, batch_size=3)(eval_model(Counting(9)))
    lines = [line for line in caplog.messages if "cannot be read" in line]
    assert lines == ["broken; other samples that cannot be read are counted"]
