"""Zero-shot figures against a closed form: a model whose features are known."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from corekit.evaluation.classification.zero_shot import ZeroShot
from tests.evaluation.known import on_ranks

CLASSES = 10
# label, class that the model sees; class 9 has no sample
SEEN = [(0, 0), (0, 0), (0, 1), (1, 1), (2, 7), (3, 4), (4, 4), (5, 5), (6, 0), (7, 7), (8, 2)]


class Coloured:
    """Pictures whose red says what the model will see; sample 3 cannot be decoded."""

    fields = ("image", "label")
    shard_sizes = np.array([5, 7])
    fingerprint = ""

    def read(self, shard: int, first: int, count: int) -> list[int]:
        return list(range(shard * 5 + first, shard * 5 + first + count))

    def decode(self, handle: int) -> dict[str, Any]:
        if handle == 3:
            raise BadSampleError("image", "broken")
        label, seen = SEEN[handle - (handle > 3)]
        return {
            "key": str(handle), "image": Image.new("RGB", (4, 4), (seen * 20, 0, 0)), "label": label
        }


class Known(nn.Module):
    """Image features: 1 at the class seen, falling with distance; text features: one-hot, times
    what normalising undoes.
    """

    def encode_image(self, image: Tensor) -> Tensor:
        seen = (image[:, 0, 0, 0] * 255 / 20).round()
        return 3 * torch.exp(-(seen[:, None] - torch.arange(CLASSES)).abs())

    def encode_text(self, text: Tensor) -> Tensor:
        return nn.functional.one_hot(text[:, 0], CLASSES).float() * (2 + text[:, 1:2])


def tokenize(sentences: Any) -> Tensor:
    return torch.tensor([[int(word) for word in sentence.split()[-2:]] for sentence in sentences])


def eval_model(workers: int = 0) -> EvalModel:
    import contextlib

    return EvalModel(Known(), Preprocess(4, "bilinear", (0, 0, 0), (1, 1, 1)), tokenize,
                     torch.device("cpu"), contextlib.nullcontext, workers=workers)


def evaluator(batch_size: int = 3) -> ZeroShot:
    return ZeroShot(Coloured(), [str(number) for number in range(CLASSES)], ["a {} 0", "the {} 5"],
                    batch_size)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("workers", [0, 2])
def test_figures_of_known_features(batch_size: int, workers: int) -> None:
    result = evaluator(batch_size)(eval_model(workers=workers))
    assert result.samples == 11
    assert result.metrics["top1"] == pytest.approx(6 / 11)  # 2 of class 0, and classes 1, 4, 5, 7
    # of the wrong ones, 0 seen as 1 and 3 seen as 4 are among the five nearest; 2 as 7, 6 as 0 and
    # 8 as 2 are not
    assert result.metrics["top5"] == pytest.approx(8 / 11)
    assert result.metrics["mean_per_class_recall"] == pytest.approx(
        (2 / 3 + 1 + 0 + 0 + 1 + 1 + 0 + 1 + 0) / 9)
    assert result.pictures["examples"].dtype == np.uint8


@pytest.mark.parametrize("world", [2, 3, 5])
def test_every_sample_counts_once_on_any_number_of_ranks(world: int) -> None:
    for result in on_ranks(evaluator(), eval_model(), world):
        assert result.metrics == evaluator()(eval_model()).metrics
        assert result.samples == 11


def test_what_it_cannot_do_is_said() -> None:
    class Unlabelled(Coloured):
        fields = ("image",)  # type: ignore[assignment]

    with pytest.raises(CorekitError, match="`label` field"):
        ZeroShot(Unlabelled(), ["a"])
    with pytest.raises(CorekitError, match="needs class names"):
        ZeroShot(Coloured())
    for template in ("no place", "a {c} in {place}", "a {", "a {}}"):
        with pytest.raises(CorekitError, match="must hold {} or {c}.*no other braces") as caught:
            ZeroShot(Coloured(), ["a"], ["a {}", template])
        assert f"'{template.replace('{c}', '{}')}'" in str(caught.value)
    assert ZeroShot(Coloured(), ["a"], ["a {c}, a kind of {c}", " "]).templates == [
        "a {}, a kind of {}"]
    with pytest.raises(CorekitError, match="label is 8, but there are 3 class names"):
        ZeroShot(Coloured(), ["0", "1", "2"], ["a {} 0"])(eval_model())
