"""Pictures of predicted patches: what is shown and what is counted, for models whose predictions
are known.
"""

import contextlib

import numpy as np
import pytest
import torch
from corekit_projects.aimv2.losses import patchify
from corekit_projects.aimv2.pictures import PatchPictures
from torch import Tensor, nn

import corekit
from corekit import CorekitError
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.datasets.subset import Subset
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel

SIDE, PATCHES, CELL = 42, 9, 168
PREPROCESS = Preprocess(SIDE, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


class Known(nn.Module):
    """Says a mixture of the true patches, normalised or not, and of nothing."""

    def __init__(self, share: float, normalize: bool = True) -> None:
        super().__init__()
        self.share, self.normalize = share, normalize

    def forward(self, image: Tensor, uniform: Tensor,
                text: Tensor | None = None) -> dict[str, Tensor]:
        true = patchify(image)[:, 1:]
        variance, mean = torch.var_mean(true, -1, keepdim=True)
        if self.normalize:
            return {"patch_predictions": self.share * (true - mean) / (variance + 1e-6).sqrt()}
        return {"patch_predictions": mean + self.share * (true - mean)}


def eval_model(model: nn.Module) -> EvalModel:
    return EvalModel(model, PREPROCESS, None, torch.device("cpu"), contextlib.nullcontext)


def cells(picture: np.ndarray) -> list[np.ndarray]:  # type: ignore[type-arg]
    """The pictures of the first sample, without the captions below them."""
    return [picture[4:164, left + 4:left + 164].astype(int) for left in (0, CELL, 2 * CELL)]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_what_is_predicted_is_shown_beside_the_truth(share: float, normalize: bool) -> None:
    scenes = OpenMoji(2, size=SIDE)
    result = PatchPictures(scenes, samples=2, prefix=0.4,
                           normalize=normalize)(eval_model(Known(share, normalize)))
    assert result.metrics["explained_variance"] == pytest.approx(1 - (1 - share) ** 2, abs=1e-4)
    true, prefix, predicted = cells(result.pictures["predicted"])
    expected = np.asarray(scenes.decode(0)["image"].resize((160, 160)))
    assert np.abs(true - expected).max() <= 1
    # 4 of 9 patches, 1 + int(0.4 · 8): the first line and one of the second
    edge = 160 / 3
    inside, below = (slice(0,
                           int(edge) - 8), slice(0, 152)), (slice(int(2 * edge) + 8,
                                                                  152), slice(8, 152))
    assert np.abs(prefix[inside] - true[inside]).max() <= 1
    assert np.unique(prefix[below]).tolist() == [127]
    assert np.abs(predicted[inside] - true[inside]).max() <= 1
    error = np.abs(predicted[below] - true[below]).max()
    assert error <= 1 if share == 1 else error > 20


def test_a_model_that_was_trained_for_it_can_be_drawn_and_another_cannot() -> None:
    arguments = {
        "encoder": "aimv2_nano", "context_length": 6, "vocab_size": 30, "width_divisor": 4,
        "depth_divisor": 6
    }
    drawn = OpenMoji(4, size=SIDE)

    def tokenize(texts: object) -> Tensor:
        return torch.ones(4, 6, dtype=torch.int64)

    for objective in ("both", "image"):
        model = corekit.create_model("aimv2_pretrain", objective=objective, **arguments).eval()
        tried = EvalModel(model, PREPROCESS, tokenize, torch.device("cpu"), contextlib.nullcontext)
        result = PatchPictures(drawn, samples=4)(tried)
        assert result.metrics["explained_variance"] < 0.5
        assert result.pictures["predicted"].shape == (2 * (160 + 3 * 13 + 8), 6 * CELL, 3)
        assert result.samples == 4
    model = corekit.create_model("aimv2_pretrain", objective="text", **arguments).eval()
    tried = EvalModel(model, PREPROCESS, tokenize, torch.device("cpu"), contextlib.nullcontext)
    with pytest.raises(CorekitError,
                       match="gives patch_predictions, and this one gives text_logits"):
        PatchPictures(drawn, samples=4)(tried)
    encoder = EvalModel(corekit.create_model("aimv2_nano"), PREPROCESS, tokenize,
                        torch.device("cpu"), contextlib.nullcontext)
    with pytest.raises(CorekitError, match="as aimv2_pretrain is, and this is a Encoder"):
        PatchPictures(drawn, samples=4)(encoder)
    with pytest.raises(CorekitError, match="holds no samples that can be read"):
        PatchPictures(Subset(drawn, np.zeros(int(drawn.shard_sizes.sum()), dtype=bool)),
                      samples=4)(tried)
    with pytest.raises(CorekitError, match="a prefix of 0 or more and below 1"):
        PatchPictures(drawn, prefix=1.0)
