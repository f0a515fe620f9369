"""The registered models: their sizes, that all of them trains, and that they agree with open_clip's."""

from collections.abc import Callable

import open_clip
import pytest
import torch
from torch import Tensor, nn

import corekit

COUNTS = {  # image and text tower in training, of Apple's implementation
    "mobileclip_s0": (11_406_464, 42_441_216),
    "mobileclip_s1": (21_541_120, 63_428_096),
    "mobileclip_s2": (35_814_720, 63_428_096),
    "mobileclip_b": (86_348_544, 63_428_096),
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
def test_parameter_counts_equal_apples(name: str) -> None:
    with torch.device("meta"):
        model = corekit.create_model(name)
    assert (parameters(model.image_tower), parameters(model.text_tower)) == COUNTS[name]


def test_nano_is_small() -> None:
    with torch.device("meta"):
        model = corekit.create_model("mobileclip_nano")
    assert parameters(model) - model.text_tower.token_embedding.weight.numel() < 2_000_000


@pytest.mark.parametrize(("name", "size"), [("mobileclip_nano", 64), ("mobileclip_s0", 256), ("mobileclip_s1", 256),
                                            ("mobileclip_s2", 256), ("mobileclip_b", 224)])
def test_models_run_on_the_meta_device(name: str, size: int) -> None:
    with torch.device("meta"):
        model = corekit.create_model(name, embed_dim=96)
        text = torch.zeros(2, 77, dtype=torch.long)
        outputs = model(torch.empty(2, 3, size, size), text, text)
    assert {key: tuple(value.shape) for key, value in outputs.items()} == {
        "image_features": (2, 96), "text_features": (2, 96), "synthetic_text_features": (2, 96), "logit_scale": ()}


@pytest.mark.parametrize(("name", "arguments"), [("mobileclip_nano", {}), ("mobileclip_s0", {}),
                                                 ("mobileclip_b", {"image_size": 64})])
def test_every_parameter_gets_a_gradient(name: str, arguments: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = corekit.create_model(name, vocab_size=100, **arguments)
    text = captions(100)
    outputs = model(torch.randn(2, 3, 64, 64), text, text.flip(0))
    sum((value * torch.randn_like(value)).sum() for value in outputs.values()).backward()
    without = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


@pytest.mark.parametrize(("name", "arguments"), [("mobileclip_nano", {}), ("mobileclip_b", {"image_size": 64})])
def test_features_are_float32_and_unit_length_under_bfloat16(name: str, arguments: dict[str, int]) -> None:
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
    torch.testing.assert_close(model.encode_image(image.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize(("name", "theirs", "size", "arguments"), [
    ("mobileclip_s1", "MobileCLIP-S1", 128, {}),
    ("mobileclip_s2", "MobileCLIP-S2", 128, {}),
    ("mobileclip_b", "MobileCLIP-B", 224, {"stem_padding": 0, "norm_eps": 1e-6}),
])
def test_models_agree_with_open_clip(name: str, theirs: str, size: int, arguments: dict[str, float],
                                     randomize: Callable[[nn.Module], None]) -> None:
    reference = open_clip.create_model(theirs).eval()
    randomize(reference)
    nn.init.zeros_(reference.visual.trunk.get_classifier().bias)  # ours has none, as in Apple's
    with torch.device("meta"):
        model = corekit.create_model(name, **arguments).eval()
    state = {key.replace("visual.trunk.", "image_tower.").replace("text.", "text_tower.", 1): value
             for key, value in reference.state_dict().items() if not key.endswith(("head.bias", "head.fc.bias"))}
    model.load_state_dict(state, assign=True)
    torch.manual_seed(0)
    image, text = torch.randn(2, 3, size, size), captions()
    with torch.no_grad():
        outputs = model(image, text)
        expected = {"image_features": reference.encode_image(image, normalize=True),
                    "text_features": reference.encode_text(text, normalize=True)}
    for key, value in expected.items():
        assert (value[0] - value[1]).abs().max() > 1e-3, "the two inputs must be told apart"
        torch.testing.assert_close(outputs[key], value, rtol=0, atol=1e-5)
