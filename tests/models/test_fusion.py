"""Folding in general: what is replaced, what is left alone, and the kernels that stand for norms
and identities.
"""

import pytest
import torch
from torch import nn

import corekit
from corekit import CorekitError
from corekit.models.fusion import convolution, diagonal_kernel, fold, norm_as_scale, padded


class Twice(nn.Module):
    """Two linear layers without anything between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.two(self.one(x))
        return out

    def folded(self) -> nn.Linear:
        product = nn.Linear(3, 3, bias=False)
        product.weight = nn.Parameter((self.two.weight @ self.one.weight).detach())
        return product


def test_blocks_are_replaced_wherever_they_are_and_the_model_given_stays() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Twice(), nn.ModuleDict({"inner": nn.ModuleList([Twice()])}),
                          nn.GELU()).eval()
    fused = corekit.reparameterize(model)
    assert [type(module) for module in fused.modules()
            if not list(module.children())] == [nn.Linear, nn.Linear, nn.GELU]
    assert not fused[0].training
    assert isinstance(model[0], Twice), "the model given is left as it was"
    x = torch.randn(5, 3)
    torch.testing.assert_close(fused[0](x), model[0](x))
    assert isinstance(corekit.reparameterize(Twice().eval()), nn.Linear)


def test_training_mode_is_refused_wherever_it_is() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), Twice()).eval()
    model[1].train()
    with pytest.raises(CorekitError, match=r"training mode.*model\.eval\(\)"):
        corekit.reparameterize(model)
    assert fold(model)[1].training, "what builds a folded model folds it in the mode it is in"


def test_a_model_without_such_blocks_is_copied() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fused = corekit.reparameterize(model)
    assert fused is not model
    assert fused.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("channels", "groups", "kernel"), [(6, 6, (3, 3)), (6, 1, (1, 1)),
                                                            (6, 2, (7, 7)), (6, 3, (1, 11))])
def test_a_diagonal_kernel_scales_channels(channels: int, groups: int, kernel: tuple[int,
                                                                                     int]) -> None:
    torch.manual_seed(0)
    scale, x = torch.randn(channels).double(), torch.randn(2, channels, 12, 12).double()
    weight = diagonal_kernel(scale, torch.Size((channels, channels // groups, *kernel)))
    padding = (kernel[0] // 2, kernel[1] // 2)
    output = nn.functional.conv2d(x, weight, padding=padding, groups=groups)
    torch.testing.assert_close(output, x * scale.view(-1, 1, 1))


def test_a_small_kernel_stands_in_the_middle_of_a_larger_one() -> None:
    kernel = torch.randn(4, 2, 3, 1)
    large = padded(kernel, torch.Size((4, 2, 7, 5)))
    torch.testing.assert_close(large[:, :, 2:5, 2:3], kernel)
    assert large.count_nonzero() == kernel.numel()


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_a_norm_is_its_scale_and_shift(eps: float) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5, eps=eps).double().eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.1, 2.0)
    x = torch.randn(2, 5, 3, 3).double()
    scale, shift = norm_as_scale(norm)
    torch.testing.assert_close(x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1), norm(x))


def test_a_convolution_keeps_geometry_and_dtype() -> None:
    like = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False).to(torch.bfloat16)
    fused = convolution(like, torch.randn(8, 2, 3, 3).double(), torch.randn(8).double())
    assert (fused.stride, fused.padding, fused.groups, fused.weight.dtype) == ((2, 2), (1, 1), 2,
                                                                               torch.bfloat16)
    assert fused.weight.requires_grad
    x = torch.randn(1, 4, 9, 9, dtype=torch.bfloat16)
    assert fused(x).shape == like(x).shape
