"""Retrieval figures against sorting everything, and what equal scores come to."""

from math import comb

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from corekit import CorekitError
from corekit.evaluation.retrieval.retrieval import Retrieval
from tests.evaluation.known import Numbered, Table, eval_model, on_ranks

# of each of 23 images
CAPTIONS = [1, 3, 2, 1, 4, 5, 1, 2, 2, 1, 3, 1, 1, 2, 5, 1, 2, 1, 3, 2, 1, 1, 4]


def made(spread: float = 2.5, bad: tuple[int, ...] = (4, 22)) -> tuple[Numbered, Table]:
    """Captions are their image's features and noise; they are numbered over all images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(len(CAPTIONS), 8, generator=generator)
    owner = torch.repeat_interleave(torch.tensor(CAPTIONS))
    texts = images[owner] + spread * torch.randn(len(owner), 8, generator=generator)
    numbers = iter(range(len(owner)))
    lines = ["\n".join(str(next(numbers)) for _ in range(count)) + "\n \n" for count in CAPTIONS]
    return Numbered(range(len(CAPTIONS)), text=lines, bad=bad), Table(images * 3, texts)


def sorted_recalls(table: Table, bad: tuple[int, ...]) -> dict[str, float]:
    """The same figures by sorting the whole matrix."""
    assert table.texts is not None
    owner = np.repeat(np.arange(len(CAPTIONS)), CAPTIONS)
    good = [image for image in range(len(CAPTIONS)) if image not in bad]
    readable = [text for text, image in enumerate(owner) if image not in bad]
    images, texts = table.images.double().numpy()[good], table.texts.double().numpy()[readable]
    scores = (images / np.linalg.norm(images, axis=1, keepdims=True)) @ (
        texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    theirs = np.array([good.index(index) for index in owner[readable]])
    actual = {}
    for k in (1, 5, 10):
        actual[f"image_to_text_r{k}"] = np.mean(
            [index in theirs[np.argsort(-row)[:k]] for index, row in enumerate(scores)])
        actual[f"text_to_image_r{k}"] = np.mean(
            [index in np.argsort(-column)[:k] for index, column in zip(theirs, scores.T)])
    return actual


@pytest.mark.parametrize(("batch_size", "block", "workers"), [(100, 100, 0), (1, 3, 0), (4, 1, 0),
                                                              (5, 7, 2)])
def test_recalls_are_those_of_sorting_everything(batch_size: int, block: int, workers: int) -> None:
    data, model = made()
    expected = sorted_recalls(model, (4, 22))
    result = Retrieval(data, batch_size, block)(eval_model(model, workers))
    assert result.metrics == pytest.approx(expected, abs=1e-12)
    assert result.samples == 21
    assert result.details == {"captions": sum(CAPTIONS) - 4 - 4}
    assert len(set(expected.values())) == 6, "the example tells all figures apart"
    assert max(expected.values()) < 1


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_change_nothing(world: int) -> None:
    data, model = made()
    alone = Retrieval(data, 3, 4)(eval_model(model))
    for result in on_ranks(Retrieval(data, 3, 4), eval_model(model), world):
        assert (result.metrics, result.samples, result.details) == (alone.metrics, 21,
                                                                    alone.details)


@pytest.mark.parametrize("world", [1, 3])
def test_a_model_that_answers_everything_alike_gets_what_chance_gives(world: int) -> None:
    images, each = 30, 3
    text = ["\n".join(["1"] * each)] * images
    generator = torch.Generator().manual_seed(0)
    rounding = 1 + 1e-7 * torch.randn(images, 6, generator=generator)
    table = Table(
        torch.rand(6, generator=generator) * rounding,
        torch.rand(2, 1) * torch.rand(6, generator=generator))
    for result in on_ranks(Retrieval(Numbered(range(images), text=text), 4), eval_model(table),
                           world):
        for k in (1, 5, 10):
            assert result.metrics[f"text_to_image_r{k}"] == pytest.approx(k / images)
            total = images * each
            assert result.metrics[f"image_to_text_r{k}"] == pytest.approx(1 -
                                                                          comb(total - each, k) /
                                                                          comb(total, k))


def test_equal_scores_by_hand() -> None:
    # image 0 and 1 look the same; of their captions, 0 and 1 are the same too, and 2 is the other
    # way round
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    result = Retrieval(Numbered(range(3), text=["0", "1", "2"]))(eval_model(Table(images, texts)))
    # image 0: captions 0 and 1 are equal: half; image 1 too; image 2: caption 2 is the last of
    # three
    assert result.metrics["image_to_text_r1"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    # caption 2 is nearer to images 0 and 1
    assert result.metrics["text_to_image_r1"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert result.metrics["image_to_text_r5"] == result.metrics["text_to_image_r5"] == 1


class Largest(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, function, types, args=(),
                           kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_the_matrix_is_never_held() -> None:
    images = 400
    table = Table(torch.randn(images, 2), torch.randn(images, 2))
    captions = [str(index) for index in range(images)]
    evaluator = Retrieval(Numbered(range(images), text=captions), 50, 20)
    with Largest() as seen:
        evaluator(eval_model(table))
    assert seen.numbers <= 2 * images  # features; the matrix has 400 x 400


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(CorekitError, match="`text` field"):
        Retrieval(Numbered(range(3), label=[0, 1, 2]))
    with pytest.raises(CorekitError, match="sample 1 has no caption"):
        Retrieval(Numbered(range(2), text=["a", " \n"]))(eval_model(made()[1]))
    with pytest.raises(CorekitError, match="no sample that can be read"):
        Retrieval(Numbered(range(2), text=["a", "b"], bad=[0, 1]))(eval_model(made()[1]))
    with pytest.raises(CorekitError, match="set data.root"):
        Retrieval(Numbered([], text=[]))(eval_model(made()[1]))
    with pytest.raises(CorekitError, match="text tower"):
        Retrieval(Numbered(range(2), text=["a", "b"]))(eval_model(torch.nn.Flatten()))
