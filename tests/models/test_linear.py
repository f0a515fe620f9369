"""Layers in fewer passes over memory: values, gradients and what is kept for them, against the plain form."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.models.linear import feed_forward, linear
from corekit.models.transformer import Transformer, attend, pick
from corekit.models.vit import Block


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(3, 48), (2, 7, 48), (2, 5, 7, 48)])
def test_values_without_gradient_are_the_plain_ones(gelu: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(64, 48), torch.randn(64)
    plain = F.linear(x.double(), weight.double(), bias.double())
    with torch.no_grad():
        for part in (x, x.transpose(0, -2).contiguous().transpose(0, -2)):
            made = linear(part, weight, bias, gelu)
            torch.testing.assert_close(made, (F.gelu(plain) if gelu else plain).float(), rtol=1e-5, atol=3e-5)
            assert torch.equal(made, linear(part, weight, bias, gelu)), "the same bits every time"
        torch.testing.assert_close(linear(x, weight, None), (plain - bias).float(), rtol=1e-5, atol=3e-5)


def test_other_arithmetic_and_tracing_take_the_plain_form() -> None:
    layer, x = nn.Linear(48, 64), torch.randn(3, 48)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, layer.weight, layer.bias).dtype == torch.bfloat16
    with torch.no_grad():
        assert linear(x.double(), layer.weight.double(), None).dtype == torch.float64

        class Module(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return linear(x, layer.weight, layer.bias, gelu=True)

        names = {str(node.target) for node in torch.export.export(Module(), (x,)).graph.nodes}
    assert {"aten.linear.default", "aten.gelu.default"} <= names


@pytest.mark.parametrize("gelu", [False, True])
def test_gradients_in_fp32_are_the_plain_ones(gelu: bool) -> None:
    torch.manual_seed(0)
    values = [torch.randn(2, 7, 48).transpose(0, 1), torch.randn(64, 48), torch.randn(64)]
    grad = torch.randn(7, 2, 64)
    found = []
    for made_by, dtype in ((linear, torch.float32), (lambda x, w, b, g: F.gelu(F.linear(x, w, b)) if g else F.linear(x, w, b),
                                                     torch.float64)):
        inputs = [value.to(dtype).requires_grad_() for value in values]
        found.append(torch.autograd.grad(made_by(*inputs, gelu), inputs, grad.to(dtype)))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=1e-4)
    values[1].requires_grad_()
    linear(values[0], values[1], None).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(values[1].grad, values[0].sum((0, 1)).expand(64, -1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("build", [lambda i, o: nn.Linear(i, o), lambda i, o: nn.Conv2d(i, o, 1)])
def test_gradients_of_a_feed_forward_part(build: Callable[[int, int], nn.Linear | nn.Conv2d]) -> None:
    torch.manual_seed(0)
    first, second = build(6, 24).double(), build(24, 5).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    values = [x, *first.parameters(), *second.parameters()]
    grad = torch.randn(2, 3, 5, dtype=torch.float64)
    plain = F.linear(F.gelu(F.linear(x, first.weight.flatten(1), first.bias)), second.weight.flatten(1), second.bias)
    made = feed_forward(x, first, second)
    torch.testing.assert_close(made, plain)
    for one, other in zip(torch.autograd.grad(made, values, grad), torch.autograd.grad(plain, values, grad)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_feed_forward_part_keeps_one_wide_tensor() -> None:
    first, second = nn.Linear(8, 32), nn.Linear(32, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        feed_forward(torch.randn(100, 8, requires_grad=True), first, second)
    assert sum(count == 100 * 32 for count in kept) == 1


def test_under_autocast_a_feed_forward_part_has_the_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    first, second, x = nn.Linear(16, 64), nn.Linear(64, 16), torch.randn(20, 16)
    found = []
    for form in (lambda: feed_forward(x, first, second), lambda: second(F.gelu(first(x)))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = form()
        assert made.dtype == torch.bfloat16
        found.append([made, *torch.autograd.grad(made.float().square().sum(), [*first.parameters(), *second.parameters()])])
    for one, other in zip(*found):
        assert one.dtype == other.dtype
        assert (one - other).abs().max() <= 0.02 * other.abs().max()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("at", [0, 3, torch.tensor([4, 0, 2])])
def test_one_token_alone_attends_as_it_does_among_all(at: int | Tensor, causal: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((3, 5, 8), (24, 8), (24,)))
    for one in (None, bias):
        torch.testing.assert_close(attend(x, weight, one, 2, causal, at), pick(attend(x, weight, one, 2, causal), at))


@pytest.mark.parametrize("causal", [False, True])
def test_a_stack_gives_the_tokens_asked_for_and_their_gradients(causal: bool) -> None:
    torch.manual_seed(0)
    stack, x, at = Transformer(16, 2, 4, causal=causal).double(), torch.randn(3, 6, 16).double(), torch.tensor([5, 0, 2])
    values = list(stack.parameters())
    for one, other in zip(torch.autograd.grad(stack(x, at).square().sum(), values),
                          torch.autograd.grad(pick(stack(x), at).square().sum(), values)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_stochastic_depth_leaves_out_the_same_samples_for_one_token() -> None:
    block, x = Block(16, 2, 4.0, 1e-5, 0.5).double(), torch.randn(8, 5, 16).double()
    torch.manual_seed(0)
    one = block(x, at=0)
    torch.manual_seed(0)
    torch.testing.assert_close(one, block(x)[:, :1])
