"""The registered models: their sizes, that all of them trains, and what tells variants apart."""

import pytest
import torch
from corekit_projects.mobileclip.preprocess import PREPROCESS
from torch import Tensor, nn

import corekit
from corekit import CorekitError, registry

COUNTS = {  # image and text tower in training, of Apple's implementation, or open_clip's of the second generation
    "mobileclip_s0": (11_406_464, 42_441_216),
    "mobileclip_s1": (21_541_120, 63_428_096),
    "mobileclip_s2": (35_814_720, 63_428_096),
    "mobileclip_b": (86_348_544, 63_428_096),
    "mobileclip_b_lt": (86_348_544, 63_428_096),
    "mobileclip_s3": (125_235_648, 123_650_304),
    "mobileclip_s4": (321_784_832, 123_650_304),
    "mobileclip_l14": (303_966_976, 123_650_304),
    "mobileclip2_s0": (11_406_976, 63_428_096),
    "mobileclip2_s2": (35_815_232, 63_428_096),
    "mobileclip2_b": (86_349_056, 63_428_096),
    "mobileclip2_s3": (125_235_648, 123_650_304),
    "mobileclip2_s4": (321_784_832, 123_650_304),
    "mobileclip2_l14": (303_966_976, 123_650_304),
}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def captions(vocab_size: int = 49408, length: int = 77) -> Tensor:
    """Two captions of different length, the end token being the highest id, padded with 0."""
    text = torch.zeros(2, length, dtype=torch.long)
    text[0, :5] = torch.tensor([vocab_size - 2, 32, 11, 53, vocab_size - 1])
    text[1, :3] = torch.tensor([vocab_size - 2, 23, vocab_size - 1])
    return text


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_equal_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        model = corekit.create_model(name)
    assert (parameters(model.image_tower), parameters(model.text_tower)) == COUNTS[name]


def test_nano_is_small() -> None:
    with torch.device("meta"):
        model = corekit.create_model("mobileclip_nano")
    assert parameters(model) - model.text_tower.token_embedding.weight.numel() < 2_000_000


def test_these_are_all_the_variants() -> None:
    assert registry.names("model", "mobileclip*") == sorted([*COUNTS, "mobileclip_nano"])


@pytest.mark.parametrize("name", ["mobileclip_nano", *COUNTS])
def test_models_run_on_the_meta_device(name: str) -> None:
    size = PREPROCESS[name].size if name in PREPROCESS else 64
    with torch.device("meta"):
        model = corekit.create_model(name, embed_dim=96)
        text = torch.zeros(2, 77, dtype=torch.long)
        outputs = model(torch.empty(2, 3, size, size), text, text)
    assert {
        key: tuple(value.shape)
        for key, value in outputs.items()
    } == {
        "image_features": (2, 96),
        "text_features": (2, 96),
        "synthetic_text_features": (2, 96),
        "logit_scale": ()
    }


@pytest.mark.parametrize(("name", "arguments"), [("mobileclip_nano", {}), ("mobileclip_s0", {}),
                                                 ("mobileclip_b", {"image_size": 64})])
def test_every_parameter_gets_a_gradient(name: str, arguments: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = corekit.create_model(name, vocab_size=100, **arguments)
    text = captions(100)
    outputs = model(torch.randn(2, 3, 64, 64), text, text.flip(0))
    sum((value * torch.randn_like(value)).sum() for value in outputs.values()).backward()
    without = [
        key for key, value in model.named_parameters()
        if value.grad is None or not value.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize(("name", "arguments"), [("mobileclip_nano", {}),
                                                 ("mobileclip_b", {
                                                     "image_size": 64
                                                 })])
def test_features_are_float32_and_unit_length_under_bfloat16(name: str,
                                                             arguments: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = corekit.create_model(name, vocab_size=100, **arguments).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = model(image, captions(100))
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(image, captions(100))
    for key in ("image_features", "text_features"):
        assert outputs[key].dtype == torch.float32
        torch.testing.assert_close(outputs[key].norm(dim=1), torch.ones(2), rtol=0, atol=1e-6)
        torch.testing.assert_close(outputs[key], exact[key], rtol=0, atol=0.05)


def test_channels_last_changes_nothing_but_speed() -> None:
    torch.manual_seed(0)
    model = corekit.create_model("mobileclip_nano", vocab_size=100).eval()
    image = torch.randn(2, 3, 64, 64)
    expected = model.encode_image(image)
    torch.testing.assert_close(
        model.encode_image(image.contiguous(memory_format=torch.channels_last)), expected)


def test_variants_of_one_architecture_differ_in_what_no_key_shows() -> None:
    with torch.device("meta"):
        first, second = corekit.create_model("mobileclip_b"), corekit.create_model("mobileclip2_b")
    assert [model.image_tower.patch_embed.backbone[0].conv.padding
            for model in (first, second)] == [(1, 1), (0, 0)]
    assert [model.image_tower.blocks[0].norm1.eps for model in (first, second)] == [1e-5, 1e-6]
    assert {model.text_tower.transformer.causal for model in (first, second)} == {True}


@pytest.mark.parametrize("name", COUNTS)
def test_only_b_reads_captions_from_left_to_right(name: str) -> None:
    with torch.device("meta"):
        model = corekit.create_model(name)
    is_b = name in ("mobileclip_b", "mobileclip_b_lt", "mobileclip2_b")
    assert model.text_tower.transformer.causal == is_b


def test_the_text_tower_is_a_choice_of_every_variant() -> None:
    with torch.device("meta"):
        assert parameters(corekit.create_model("mobileclip2_s0",
                                               text_tower="hybrid").text_tower) == 42_441_216
        images = corekit.create_model("mobileclip_b", text_tower=None)
        assert set(images(torch.empty(2, 3, 224, 224))) == {"image_features"}
        assert not hasattr(images, "encode_text")
    with pytest.raises(CorekitError, match="sees 5 tokens ahead and cannot be causal"):
        corekit.create_model("mobileclip_b", text_tower="hybrid")
