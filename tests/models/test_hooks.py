"""Every linear layer of every recipe's model is called: hooks, adapters and quantisation see it."""

import inspect
import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import corekit
from corekit import registry
from tests.test_recipes import MODELS, PIXELS

# token_teacher is a trained encoder of the others; a pre-training model's image is of whole patches
ENCODERS = ("aimv2_base_224", "aimv2_large_native", "aimv1_600m")
NAMES = [name for name in (*MODELS, *ENCODERS) if name != "token_teacher"]
CAPTION = (1, 5, 7, 3)
OBJECTS = {  # one in each of two images
    "boxes": torch.tensor([[4.0, 4, 40, 40], [8, 20, 60, 60]]), "box_labels": torch.tensor([0, 1]),
    "box_offsets": torch.arange(3), "masks": torch.ones(2, PIXELS, PIXELS, dtype=torch.uint8)
}


class Adapter(nn.Module):
    """A linear layer with an update of low rank beside it, as LoRA puts it in the layer's place."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.calls = base, 0
        self.down = nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.base(x) + self.up(self.down(x))


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    arguments = dict(MODELS.get(name, {"width_divisor": 16, "depth_divisor": 6}))
    if name == "aimv2_large_lit":
        arguments["width_divisor"] = 8
    return registry.build("model", name, arguments).train()  # type: ignore[no-any-return]


def outputs_of(model: nn.Module) -> dict[Any, Tensor]:
    """What a model gives for two images and captions, as tensors."""
    torch.manual_seed(1)
    batch: dict[str, Tensor] = {"image": torch.rand(2, 3, PIXELS, PIXELS)}
    names = inspect.signature(model.forward).parameters
    if "conversation" in names:
        ids = torch.tensor([-1] * 25 + [*CAPTION])
        batch = {"pictures": torch.rand(1, 3, 70, 70), "picture_offsets": torch.arange(2),
                 "conversation": ids, "conversation_offsets": torch.tensor([0, len(ids)])}
    if "text" in names:
        batch["text"] = torch.tensor([CAPTION, CAPTION])
    if "boxes" in names and not model.training:  # forward is the losses
        found = model.detect(**batch) if "masks" in names else [model.refer(**batch)]
        return dict(enumerate(each["boxes"] for each in found))
    batch.update({name: value for name, value in OBJECTS.items() if name in names})
    outputs = model(**batch)
    return {name: value if isinstance(value, Tensor) else value.dense()
            for name, value in outputs.items()}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_hook_fires_on_every_linear_layer(name: str, fused: bool) -> None:
    model, called = build(name), set()
    if fused:
        model = corekit.reparameterize(model.eval())
    linears = {path: layer for path, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    for path, layer in linears.items():
        layer.register_forward_hook(lambda *_, path=path: called.add(path))
    with torch.set_grad_enabled(not fused):
        outputs_of(model)
    assert len(linears) > 2
    assert called == set(linears)


@pytest.mark.parametrize("name", ["mobileclip_nano", "clip_vit_b16", "catlip_vit_b16",
                                  "aimv2_pretrain", "aimv1_pretrain", "aimv2_large_lit"])
def test_adapters_in_the_place_of_every_linear_layer_are_trained(name: str) -> None:
    model = build(name)
    plain = outputs_of(model)
    model.requires_grad_(False)
    adapters = []
    for path, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear):
            adapters.append(Adapter(layer))
            model.set_submodule(path, adapters[-1])
    adapted = outputs_of(model)
    assert all(adapter.calls == 1 for adapter in adapters)
    changed = [output for output in plain if output != "logit_scale"]
    assert not any(torch.allclose(plain[output], adapted[output]) for output in changed)
    torch.stack([adapted[output].square().sum() for output in changed]).sum().backward()
    assert all(adapter.down.weight.grad is not None for adapter in adapters)


def test_an_adapter_after_a_gelu_is_trained_under_activation_checkpointing() -> None:
    model = build("clip_vit_b16")
    block, x = model.image_tower.blocks[0], torch.randn(2, 3, 32)
    block.mlp.fc2 = Adapter(block.mlp.fc2)
    block.eval()
    values = list(block.parameters())
    plain = torch.autograd.grad(block(x).square().sum(), values)
    recomputed = checkpoint(block, x, use_reentrant=False).square().sum()
    for ours, theirs in zip(torch.autograd.grad(recomputed, values), plain):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["clip_vit_b16", "aimv2_base_224"])
def test_torchs_dynamic_quantisation_replaces_them(name: str) -> None:
    model = build(name).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch says that it moves to torchao
        quantized = torch.ao.quantization.quantize_dynamic(deepcopy(model), {nn.Linear})
        plain, rounded = outputs_of(model), outputs_of(quantized)
    assert not [layer for layer in quantized.modules() if type(layer) is nn.Linear]
    for output, value in plain.items():
        if output != "logit_scale":
            assert 0 < (value - rounded[output]).norm() < 0.2 * value.norm()


def test_a_hook_sees_what_a_layer_gave() -> None:
    """Nothing writes over an output that a hook may have kept."""
    model = corekit.create_model("aimv2_base_224", width_divisor=16, depth_divisor=6).eval()
    outputs: list[tuple[Tensor, Tensor]] = []
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda m, i, value: outputs.append((value, value.clone())))
    with torch.no_grad():
        outputs_of(model)
    assert all(torch.equal(output, copy) for output, copy in outputs)
