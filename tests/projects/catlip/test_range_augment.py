"""RangeAugment: its error in closed form, its target's curriculum, and ranges that follow the
target.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from corekit_projects.catlip.range_augment import (
    Range,
    RangeAugment,
    RangeAugmentLoss,
    range_augment,
)
from torch import Tensor, nn

import corekit
from corekit import CorekitError

NAMES = {
    f"neural_augmentor.{kind}.{end}" for kind in ("brightness", "contrast", "noise")
    for end in ("_low", "_high")
}


class Pixels(nn.Module):
    """Gives its images back."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"pixels": self.weight * image}

    def encode_image(self, image: Tensor) -> Tensor:
        return self.forward(image)["pixels"]


class Bare(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image


def images(count: int = 64, size: int = 8) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def only(augment: RangeAugment, kind: str, magnitude: float) -> RangeAugment:
    """The module with one augmentation left, at one magnitude."""
    for name in ("brightness", "contrast", "noise"):
        module = getattr(augment, name)
        value = magnitude if name == kind else module.neutral
        module.low_bounds = module.high_bounds = (value, value)
    return augment


def test_ranges_start_where_corenets_do_and_stay_within_their_bounds() -> None:
    augment = RangeAugment()
    sigmoid = {value: 1 / (1 + math.exp(-value)) for value in (0.0, 0.1, 0.5, 1.5)}
    for module in (augment.brightness, augment.contrast):
        assert module.low.item() == pytest.approx(0.1 + 0.8 * sigmoid[0.5])
        assert module.high.item() == pytest.approx(1.1 + 8.9 * sigmoid[1.5])
    assert augment.noise.low.item() == pytest.approx(0.00005 * sigmoid[0.0])
    assert augment.noise.high.item() == pytest.approx(0.0001 + 0.9999 * sigmoid[0.1])
    assert {f"neural_augmentor.{name}" for name in augment.state_dict()} == NAMES
    assert all(value.shape == () for value in augment.parameters())
    with torch.no_grad():
        for value in augment.parameters():
            value.fill_(-50.0)
    assert augment.brightness.low.item() == pytest.approx(0.1)
    assert augment.brightness.high.item() == pytest.approx(1.1)


def test_half_of_the_images_get_a_magnitude_drawn_evenly_from_the_range() -> None:
    torch.manual_seed(0)
    strength = Range(0.5, 1.5, (0.2, 0.2), (1.2, 1.2), 1.0)
    magnitude = strength(4000, torch.device("cpu")).flatten()
    drawn = magnitude[magnitude != 1.0]
    assert len(drawn) == 2000
    assert drawn.min() >= 0.2
    assert drawn.max() <= 1.2
    assert drawn.mean().item() == pytest.approx(0.7, abs=0.03)
    assert drawn.std().item() == pytest.approx(1 / math.sqrt(12), abs=0.02)


@pytest.mark.parametrize(("kind", "magnitude"), [("brightness", 0.5), ("brightness", 3.0),
                                                 ("contrast", 0.25), ("noise", 0.05)])
def test_each_augmentation_is_what_its_formula_says(kind: str, magnitude: float) -> None:
    torch.manual_seed(0)
    image = images() * 0.5 + 0.25
    augmented, error = only(RangeAugment(), kind, magnitude)(image)
    mean = image.mean((2, 3), keepdim=True)
    expected = {
        "brightness": image * magnitude, "contrast": mean + magnitude * (image - mean),
        "noise": augmented
    }[kind]
    changed = (augmented != image).flatten(1).any(1)
    assert int(changed.sum()) == 32, "half of the images; the others stay as they are, to the bit"
    assert torch.allclose(augmented[changed], expected.clamp(0, 1)[changed], atol=1e-6)
    assert torch.allclose(error, ((augmented - image) ** 2).mean((1, 2, 3)))
    assert error[~changed].eq(0).all()
    if kind == "noise":
        assert error[changed].mean().item() == pytest.approx(magnitude**2,
                                                             rel=0.05), "the noise's variance"
    assert augmented.min() >= 0
    assert augmented.max() <= 1


def test_the_targets_are_the_errors_of_40_and_20_decibels_and_the_way_between_them() -> None:
    loss = RangeAugmentLoss()
    assert loss.target(0, 200) == pytest.approx(6.5025)  # 255^2 / 10^4
    assert loss.target(200, 200) == pytest.approx(650.25)  # 255^2 / 10^2
    assert loss.target(100, 200) == pytest.approx((6.5025 + 650.25) / 2)
    assert loss.target(50, 200) == pytest.approx(650.25 - 643.7475 * (1 + math.sqrt(0.5)) / 2)
    assert RangeAugmentLoss(curriculum="linear").target(50,
                                                        200) == pytest.approx(6.5025 + 643.7475 / 4)
    assert RangeAugmentLoss((40.0, 10.0)).target(7, 7) == pytest.approx(6502.5)  # detection's
    psnr = -10 * math.log10(loss.target(50, 200) / 255**2)
    assert 20 < psnr < 40


def test_the_loss_is_the_distance_from_the_target_in_closed_form() -> None:
    loss = RangeAugmentLoss()
    levels = torch.tensor([6.5025, 16.5025, 6.7025, 0.0])
    value = loss(levels / 255**2, 0, 10)
    assert value.item() == pytest.approx((0 + 9.5 + 0.5 * 0.2**2 + 6.0025) * 100 / 65025, rel=1e-4)


@pytest.mark.parametrize("psnr", [35.0, 15.0])
def test_training_moves_the_error_to_the_target(psnr: float) -> None:
    augment, image = RangeAugment(), images(32)
    loss = RangeAugmentLoss((psnr, psnr))
    target = 10 ** (-psnr / 10)
    optimizer = torch.optim.Adam(augment.parameters(), lr=0.2)
    errors = []
    for step in range(60):
        torch.manual_seed(step)
        error = augment(image)[1]
        optimizer.zero_grad()
        loss(error, step, 60).backward()
        optimizer.step()
        errors.append(error[error > 0].mean().item())
    before, after = errors[0], sum(errors[-10:]) / 10
    assert abs(after - target) < 0.5 * abs(before - target)
    assert (after < before) == (target < before)


def test_gradients_are_those_of_finite_differences() -> None:
    augment = RangeAugment().double()
    image = images(16).double() * 0.2 + 0.4

    def total() -> Tensor:
        torch.manual_seed(3)
        augmented, error = augment(image)
        return error.sum() + augmented.square().sum() / 100

    total().backward()
    for name, value in augment.named_parameters():
        with torch.no_grad():
            value += 1e-6
            above = total()
            value -= 2e-6
            below = total()
            value += 1e-6
        assert value.grad is not None
        assert value.grad.item() == pytest.approx((above - below).item() / 2e-6, rel=1e-4,
                                                  abs=1e-7), name


def test_a_list_is_augmented_as_a_batch_is() -> None:
    image, augment = images()[:4], only(RangeAugment(), "brightness", 0.5)
    torch.manual_seed(0)
    augmented, error = augment(image)
    torch.manual_seed(0)
    listed, errors = augment(list(image))
    assert torch.equal(torch.stack(listed), augmented)
    assert torch.equal(errors, error)
    sizes = [tuple(each.shape) for each in augment([image[0], image[1][:, :5]])[0]]
    assert sizes == [tuple(image[0].shape), (3, 5, image.shape[3])]


def test_only_the_given_images_are_kept_for_the_backward_pass() -> None:
    saved: list[Tensor] = []
    image = images()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor,
                                                  lambda tensor: tensor):
        augmented = RangeAugment()._augment(image)
        assert sum(value.numel() for value in saved) > 4 * image.numel(), "as it would be"
        saved.clear()
        augmented = RangeAugment()(image)
    assert {value.data_ptr() for value in saved if value.numel()} == {image.data_ptr()}
    augmented[1].sum().backward()


def test_a_model_is_itself_with_six_scalars_more_and_evaluates_as_before() -> None:
    plain = Pixels()
    model = range_augment(copy.deepcopy(plain))
    assert model.state_dict().keys() == plain.state_dict().keys() | NAMES
    image = images()
    torch.manual_seed(5)
    outputs = copy.deepcopy(model)(image=image)
    torch.manual_seed(5)
    augmented, error = RangeAugment()(image)
    assert torch.equal(outputs["pixels"], augmented)
    assert torch.equal(outputs["augmentation_error"], error)
    assert not torch.equal(augmented, image)
    sum(value.sum() for value in model(image=image).values()).backward()
    assert all(value.grad is not None for value in model.parameters())
    before = torch.get_rng_state()
    outputs = model.eval()(image=image)
    assert outputs.keys() == {"pixels"}
    assert torch.equal(outputs["pixels"], image)
    assert torch.equal(model(image)["pixels"], image)
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"
    assert torch.equal(model.train().encode_image(image), image)


def test_recipes_nest_the_model() -> None:
    model = corekit.create_model("range_augment", model={"name": "mobileclip_nano", "embed_dim": 8})
    plain = corekit.create_model("mobileclip_nano", embed_dim=8)
    assert model.state_dict().keys() == plain.state_dict().keys() | NAMES


def test_compiled_around_a_model_it_stays_out_of_the_models_one_graph() -> None:
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    plain = range_augment(corekit.create_model("catlip_vit_nano", num_classes=4))
    compiled = copy.deepcopy(plain)
    compiled.compile(backend=keep)
    image = torch.rand(2, 3, 64, 64)
    for seed in range(5):  # in other orders
        errors = []
        for model in (plain, compiled):
            torch.manual_seed(seed)
            errors.append(model(image=image)["augmentation_error"])
        assert torch.equal(*errors)
    assert len(graphs) == 1


def test_normalised_images_and_models_that_do_not_fit_are_told() -> None:
    with pytest.raises(CorekitError, match=r"pixels from 0 to 1.*go from -1.00 to 1.00: set "
                                           r"data.preprocess.mean=\[0,0,0\]"):
        RangeAugment()(torch.tensor([-1.0, 1.0]).expand(1, 3, 2, 2))
    model = range_augment(Pixels())
    with pytest.raises(CorekitError, match="called without it"):
        model(images())
    with pytest.raises(CorekitError, match="gives a dict"):
        range_augment(Bare())(image=images())
