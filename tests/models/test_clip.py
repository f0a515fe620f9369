"""CLIP: unit-length float32 features, the clamped scale, and one text run for two captions."""

import math

import pytest
import torch
from torch import Tensor, nn

import corekit
from corekit.models.clip import CLIP


class Table(nn.Module):
    """A text tower that counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.runs = 0

    def forward(self, text: Tensor) -> Tensor:
        self.runs += 1
        pooled: Tensor = self.embedding(text).sum(1)
        return pooled


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(0)
    return CLIP(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8)), Table())


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(3, 3, 4, 4,
                        generator=generator), torch.randint(50, (3, 5), generator=generator),
            torch.randint(50, (3, 5), generator=generator))


def test_outputs_are_normalised_features_and_the_scale(model: CLIP) -> None:
    image, text, _ = inputs()
    outputs = model(image, text)
    assert list(outputs) == ["image_features", "text_features", "logit_scale"]
    plain = model.encode_image(image)
    torch.testing.assert_close(outputs["image_features"],
                               plain / plain.square().sum(1, keepdim=True).sqrt())
    torch.testing.assert_close(outputs["image_features"], model.encode_image(image, normalize=True))
    torch.testing.assert_close(outputs["text_features"], model.encode_text(text, normalize=True))
    assert outputs["logit_scale"].shape == ()
    assert outputs["logit_scale"].item() == pytest.approx(1 / 0.07)


def test_synthetic_captions_share_one_run_of_the_text_tower(model: CLIP) -> None:
    image, text, synthetic_text = inputs()
    outputs = model(image, text, synthetic_text)
    assert model.text_tower.runs == 1
    torch.testing.assert_close(outputs["text_features"], model.encode_text(text, normalize=True))
    torch.testing.assert_close(outputs["synthetic_text_features"],
                               model.encode_text(synthetic_text, normalize=True))


@pytest.mark.parametrize(("log_scale", "scale"), [(2.0, math.exp(2)), (5.0, 100.0)])
def test_scale_is_clamped_at_100_and_keeps_its_gradient(model: CLIP, log_scale: float,
                                                        scale: float) -> None:
    nn.init.constant_(model.logit_scale, log_scale)
    image, text, _ = inputs()
    logit_scale = model(image, text)["logit_scale"]
    logit_scale.backward()
    assert logit_scale.item() == pytest.approx(scale)
    assert model.logit_scale.grad is not None
    assert model.logit_scale.grad.item() == pytest.approx(math.exp(log_scale))


def test_features_are_float32_and_unit_length_under_bfloat16_autocast(model: CLIP) -> None:
    image, text, synthetic_text = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encode_image(image).dtype == torch.bfloat16
        outputs = model(image, text, synthetic_text)
    for name, value in outputs.items():
        assert value.dtype == torch.float32
        if name != "logit_scale":
            torch.testing.assert_close(value.norm(dim=1), torch.ones(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("start", [100.0, 120.0])
def test_a_scale_at_its_largest_value_can_come_down(start: float) -> None:
    model = CLIP(nn.Flatten(), nn.EmbeddingBag(10, 12), init_logit_scale=start)
    outputs = model(torch.rand(2, 3, 2, 2), torch.tensor([[1, 2], [3, 4]]))
    assert outputs["logit_scale"].item() == pytest.approx(100, rel=1e-6)
    outputs["logit_scale"].backward()
    assert model.logit_scale.grad is not None
    assert model.logit_scale.grad.item() == pytest.approx(start, rel=1e-5)
    model.after_step()
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-6)


def test_a_scale_is_held_at_its_least_value_where_it_has_one() -> None:
    """AIMv2's towers clamp its logarithm to 0 and log 100 (Apple's code); OpenAI's to log 100."""
    inputs = torch.rand(2, 3, 2, 2), torch.tensor([[1, 2], [3, 4]])
    for least, expected in ((1.0, 1.0), (0.0, 0.5)):
        model = CLIP(nn.Flatten(), nn.EmbeddingBag(10, 12), 0.5, least)
        assert model(*inputs)["logit_scale"].item() == pytest.approx(expected)
        model.after_step()
        assert model.logit_scale.exp().item() == pytest.approx(expected)
    with torch.device("meta"):
        lit = corekit.create_model("aimv2_large_lit", width_divisor=8, depth_divisor=12)
    assert lit.least_logit_scale == 1
