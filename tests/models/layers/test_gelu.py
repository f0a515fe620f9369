"""Layers after a GELU: values, gradients and what is kept for them, against the plain form."""

import weakref
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from corekit.models.layers.gelu import GELU, after_gelu
from corekit.models.layers.linear import PointwiseConv2d


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("build", [lambda i, o: nn.Conv2d(i, o, 1), PointwiseConv2d])
def test_images_have_the_values_and_gradients_of_the_plain_form(
        build: Callable[[int, int], nn.Conv2d], channels_last: bool) -> None:
    torch.manual_seed(0)
    first, second = build(6, 24).double(), build(24, 5).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    values = [x, *first.parameters(), *second.parameters()]
    plain = F.conv2d(F.gelu(F.conv2d(x, first.weight, first.bias)), second.weight, second.bias)
    output, grad = after_gelu(second, first(x)), torch.randn(2, 5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(output, plain)
    for ours, theirs in zip(torch.autograd.grad(output, values, grad),
                            torch.autograd.grad(plain, values, grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_the_bits_of_the_plain_form(dtype: torch.dtype,
                                                             recompute: bool) -> None:
    torch.manual_seed(0)
    first, second, x = nn.Linear(16, 64), nn.Linear(64, 16), torch.randn(4, 5, 16)

    def run(form: Callable[[Tensor], Tensor]) -> list[Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = checkpoint(form, x, use_reentrant=False) if recompute else form(x)
        values = [*first.parameters(), *second.parameters()]
        return [output, *torch.autograd.grad(output.float().square().sum(), values)]

    plain = run(lambda x: second(F.gelu(first(x))))
    for ours, theirs in zip(run(lambda x: after_gelu(second, first(x))), plain):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("layer", [nn.Linear(32, 8), nn.Sequential(nn.Linear(32, 8, bias=False))])
def test_one_wide_tensor_is_kept(layer: nn.Module) -> None:
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    hidden = nn.Linear(8, 32)(torch.randn(100, 8, requires_grad=True))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        after_gelu(layer, hidden)
    assert sum(size == 4 * 100 * 32 for size in sizes.values()) == 1


@pytest.mark.parametrize("recompute", [False, True])
def test_activation_checkpointing_keeps_no_wide_tensor(recompute: bool) -> None:
    first, second = nn.Linear(8, 32), nn.Linear(32, 8)
    wide: list[weakref.ref[Tensor]] = []
    first.register_forward_hook(lambda module, inputs, output: wide.append(weakref.ref(output)))

    def form(x: Tensor) -> Tensor:
        return after_gelu(second, first(x))

    x = torch.randn(9, 8)
    output = checkpoint(form, x, use_reentrant=False) if recompute else form(x)
    assert (wide[0]() is None) == recompute
    output.sum().backward()


@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (4, 7)])
def test_gelu_is_torchs_wherever_channels_lie(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    torch.testing.assert_close(GELU()(x), F.gelu(x))
    if x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
        assert GELU()(x).is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(GELU()(x), F.gelu(x))
