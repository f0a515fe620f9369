"""Referring expressions: precision of the best boxes, on any number of ranks."""

import pytest
import torch
from torch import Tensor, nn

from corekit.data.datasets.openmoji.referring import OpenMojiReferring
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.detection.referring import ReferringExpressions
from tests.evaluation.known import eval_model, on_ranks

PREPROCESS = Preprocess(64, "bilinear", (0, 0, 0), (1, 1, 1))
SAMPLES = 7


class Oracle(nn.Module):
    """Knows the boxes of phrases: best for the first three samples, second best for two more."""

    def __init__(self, scenes: OpenMojiReferring) -> None:
        super().__init__()
        samples = [scenes.decode(handle) for handle in range(SAMPLES)]
        self.boxes = torch.tensor([[number, *sample["boxes"][0]]
                                   for number, sample in enumerate(samples)])

    def refer(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        answers = torch.zeros(len(text), 3, 4)
        for answer, number in zip(answers, text[:, 0].tolist()):
            if number < 5:
                answer[int(number >= 3)] = self.boxes[number, 1:]
        return {"boxes": answers, "scores": torch.tensor([[0.9, 0.5, 0.1]]).expand(len(text), -1)}


def model_of(scenes: OpenMojiReferring) -> EvalModel:
    texts = [scenes.decode(handle)["text"] for handle in range(SAMPLES)]
    model = eval_model(Oracle(scenes))

    def tokenize(captions: object) -> Tensor:
        assert isinstance(captions, list)
        return torch.tensor([[texts.index(caption) if caption else 99] for caption in captions])

    return EvalModel(**{**vars(model), "preprocess": PREPROCESS, "tokenize": tokenize})


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_right_box_counts_among_the_first(ranks: int) -> None:
    scenes = OpenMojiReferring(SAMPLES, seed=3, concepts=60)
    results = on_ranks(ReferringExpressions(scenes, PREPROCESS, batch_size=2), model_of(scenes),
                       ranks)
    for result in results:
        assert result.samples == SAMPLES
        assert result.metrics == {"precision_at_1": 3 / 7, "precision_at_5": 5 / 7,
                                  "precision_at_10": 5 / 7}


@pytest.mark.parametrize(("height", "is_right"), [(16.0, True), (15.9, False)])
def test_half_of_a_box_is_right(height: float, is_right: bool) -> None:
    evaluator = ReferringExpressions(OpenMojiReferring(SAMPLES), PREPROCESS)
    found = torch.tensor([[8.0, 8, 40, 8 + height]])
    assert evaluator._hits(found, [[8.0, 8, 40, 40]], (64, 64)) == [is_right] * 3


def test_a_model_that_finds_nothing_is_refused() -> None:
    scenes = OpenMojiReferring(SAMPLES)
    with pytest.raises(CorekitError, match="needs a model with a method `refer`"):
        ReferringExpressions(scenes, PREPROCESS)(eval_model(nn.Identity()))
