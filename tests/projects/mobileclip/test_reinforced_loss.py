"""The blockwise reinforced loss against the equations, written out densely in float64."""

import pytest
import torch
from corekit_projects.mobileclip.losses import ReinforcedContrastive
from torch import Tensor

from corekit import CorekitError
from corekit.distributed.process_group import ProcessGroup
from corekit.losses.contrastive import Contrastive
from tests.conftest import succeeded
from tests.losses.largest_tensor import LargestTensor
from tests.projects.mobileclip import reinforced_on_ranks
from tests.projects.mobileclip.reinforced_on_ranks import SAMPLES, SCALES, TEACHERS, WEIGHTS

Results = dict[int, dict[str, dict[str, Tensor]]]


def dense(image: Tensor, text: Tensor, scale: Tensor, teacher_image: Tensor, teacher_text: Tensor,
          hard: float, soft: float) -> Tensor:
    """One set of captions; the teachers' softmaxes are averaged, not their logits."""
    total = torch.zeros((), dtype=torch.float64)
    for queries, targets, teacher_queries, teacher_targets in (
            (image, text, teacher_image, teacher_text), (text, image, teacher_text, teacher_image)):
        log_probability = (scale * queries @ targets.T).log_softmax(1)
        aims = torch.zeros(len(image), len(image), dtype=torch.float64)
        for one, other, temperature in zip(teacher_queries.split(TEACHERS, 1),
                                           teacher_targets.split(TEACHERS, 1), SCALES):
            aims += (temperature * one @ other.T).softmax(1) / len(TEACHERS)
        total = total - hard * log_probability.diagonal().mean() / 2
        total = total - soft * (aims * log_probability).sum(1).mean() / 2
    return total


def reference(dtype: torch.dtype, rounded: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """Loss and grads by plain autograd in float64, for features as they are in ``dtype``."""
    inputs = {name: value.to(rounded if name.startswith("teacher") else dtype).double()
              for name, value in reinforced_on_ranks.features().items()}
    leaves = {name: inputs[name].requires_grad_() for name in ("image", "text", "synthetic_text")}
    scale = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)
    real, synthetic = (dense(inputs["image"], inputs[text], scale, inputs["teacher_image_features"],
                             inputs[f"teacher_{text}_features"], WEIGHTS["contrastive_weight"],
                             WEIGHTS["distillation_weight"]) for text in ("text", "synthetic_text"))
    (real + synthetic).backward()
    grads = {f"tables.{name}.weight": value.grad for name, value in leaves.items()}
    return {
        **grads, "scale": scale.grad,
        "loss": (real + synthetic).detach(),  # type: ignore[dict-item]
        "reinforced_contrastive/real": real.detach(),
        "reinforced_contrastive/synthetic": synthetic.detach()
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("steps")
    for ranks in (2, 4):
        succeeded(folder, "tests.projects.mobileclip.reinforced_on_ranks", str(folder), ranks=ranks)
    on_ranks = {ranks: torch.load(folder / f"{ranks}.pt", weights_only=True) for ranks in (2, 4)}
    return {1: reinforced_on_ranks.all_steps(ProcessGroup(0, 1, torch.device("cpu"))), **on_ranks}


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batches", [4, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_value_and_grads_are_those_of_the_equations(results: Results, ranks: int,
                                                    micro_batches: int, dtype: torch.dtype,
                                                    tolerance: float) -> None:
    actual, expected = results[ranks][str((dtype, micro_batches))], reference(dtype)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name].double() - value).norm() <= tolerance * value.norm(), name


def test_what_rounding_the_teachers_to_bfloat16_does() -> None:
    exact, rounded = (reference(torch.float64, dtype) for dtype in (torch.float64, torch.bfloat16))
    assert 0 < (rounded["loss"] - exact["loss"]).abs() <= 1e-3 * exact["loss"]


def given(**changes: Tensor) -> dict[str, Tensor]:
    values = {name if name.startswith("teacher") else f"{name}_features": value.float()
              for name, value in reinforced_on_ranks.features().items()}
    return {**values, "logit_scale": torch.tensor(50.0), **changes}


def test_without_distillation_it_is_the_contrastive_loss() -> None:
    values = given()
    parts = ReinforcedContrastive(TEACHERS, SCALES, 1.0, 0.0)(**values)
    for part, text in (("real", "text_features"), ("synthetic", "synthetic_text_features")):
        assert parts[part] == Contrastive()(values["image_features"], values[text],
                                            values["logit_scale"])


def test_real_captions_alone_leave_their_own_part() -> None:
    values, loss = given(), ReinforcedContrastive(TEACHERS, SCALES)
    both = loss(**values)
    alone = loss(**{name: value for name, value in values.items() if "synthetic" not in name})
    assert set(both) == {"real", "synthetic"}
    assert alone == {"real": both["real"]}


@pytest.mark.parametrize(("block", "wanted"), [(32, 768 * sum(TEACHERS)), (768, 768 * 768)])
def test_the_largest_tensor_is_a_block_or_the_teachers_features_which_get_no_gradient(
        block: int, wanted: int) -> None:
    values = {name: value.repeat(16, 1).requires_grad_() if value.dim() else value.requires_grad_()
              for name, value in given().items()}
    with LargestTensor() as largest:
        sum(ReinforcedContrastive(
            TEACHERS, SCALES,
            block=block)(**values).values()).backward()  # type: ignore[union-attr]
    assert SAMPLES * 16 == 768
    assert largest.elements == wanted
    for name, value in values.items():
        assert (value.grad is None) == name.startswith("teacher"), name


@pytest.mark.parametrize(("arguments", "message"),
                         [(([768, 768], [100.0]), "one number for each teacher"),
                          (([], []), "one number for each teacher"), (([768], [0.0]), "above 0"),
                          (([0], [1.0]), "above 0")])
def test_teachers_are_described_in_full(arguments: tuple[list[int], list[float]],
                                        message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        ReinforcedContrastive(*arguments)


def test_features_that_are_not_there_or_of_another_width_are_told() -> None:
    loss, values = ReinforcedContrastive(TEACHERS, SCALES), given()
    with pytest.raises(CorekitError, match=r"are 35 wide, but loss.teacher_widths=\[24, 12\] adds "
                                           r"up to 36"):
        loss(**given(teacher_text_features=values["teacher_text_features"][:, 1:]))
    del values["teacher_synthetic_text_features"]
    with pytest.raises(CorekitError, match="teacher_synthetic_text_features, or neither"):
        loss(**values)
