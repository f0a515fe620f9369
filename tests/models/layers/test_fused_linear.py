"""Linear layers for inference: equal to the plain ones by whatever way they are computed."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from corekit.models.fusion import fold
from corekit.models.layers.linear import FEW_ROWS, FusedLinear
from corekit.models.layers.mlp import MLP

ROWS = [1, FEW_ROWS, FEW_ROWS + 1]


def products(module: nn.Module, x: Tensor) -> set[str]:
    """The names of the products that torch ran."""
    with torch.profiler.profile() as profile:
        module(x)
    return {event.key for event in profile.key_averages()
            if event.key in ("mkldnn::_linear_pointwise", "aten::addmm", "aten::gelu_")}


@pytest.fixture
def x(request: pytest.FixtureRequest) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(request.param, 48)


@pytest.mark.parametrize("x", ROWS, indirect=True)
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("gradient", [False, True])
def test_it_gives_what_the_layer_and_its_gelu_give(x: Tensor, gelu: bool, gradient: bool) -> None:
    layer = nn.Linear(48, 64)
    fused = FusedLinear(layer, gelu)
    with torch.set_grad_enabled(gradient):
        expected = nn.functional.gelu(layer(x)) if gelu else layer(x)
        output = fused(x)
    torch.testing.assert_close(output, expected)
    assert output.requires_grad == gradient


@torch.no_grad()
def test_only_few_rows_of_fp32_go_through_onednn() -> None:
    layer = FusedLinear(nn.Linear(48, 64), gelu=True)
    few, many = torch.randn(FEW_ROWS, 48), torch.randn(FEW_ROWS + 1, 48)
    assert products(layer, few) == {"mkldnn::_linear_pointwise"}
    assert products(layer, many) == {"aten::addmm", "aten::gelu_"}
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(few).dtype == torch.bfloat16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it moves to torch.export
        traced = torch.jit.trace(layer, few)
    assert traced.graph.findNode("mkldnn::_linear_pointwise") is None
    assert products(layer.double(), few.double()) == {"aten::addmm", "aten::gelu_"}


@torch.no_grad()
def test_a_folded_mlp_keeps_names_hooks_and_values() -> None:
    mlp, seen = MLP(48, 64).eval(), []
    mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(2, 5, 48)
    expected, names = mlp(x), set(mlp.state_dict())
    folded = fold(mlp)
    torch.testing.assert_close(folded(x), expected)
    assert set(folded.state_dict()) == names
    assert len(seen) == 2
    torch.testing.assert_close(seen[1], nn.functional.gelu(seen[0]))


@torch.no_grad()
def test_what_somebody_made_of_a_layer_stays() -> None:
    model = nn.Sequential(MLP(48, 64)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it moves to torchao
        model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    x = torch.randn(5, 48)
    expected = model(x)
    assert torch.equal(fold(model)(x), expected)
