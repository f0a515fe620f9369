"""Binary cross-entropy from sparse rows and a head in blocks, against torch's own over dense
targets.
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit import CorekitError
from corekit.data.loading.ragged import pack
from corekit.linear_output import LinearOutput
from corekit.losses.binary_cross_entropy import BinaryCrossEntropy

SAMPLES, WIDTH, CLASSES = 6, 8, 37
ROWS = [[3, 36, 0], [], [5], [36, 2, 17, 8], [], [1, 36]]  # samples without labels among them
Loss = Callable[[Tensor, nn.Linear], Tensor]


def blocks(size: int) -> Loss:
    return lambda hidden, head: BinaryCrossEntropy(size)(LinearOutput.of(hidden, head), *pack(ROWS))


def tensor(hidden: Tensor, head: nn.Linear) -> Tensor:
    return BinaryCrossEntropy()(head(hidden), *pack(ROWS))


def dense(hidden: Tensor, head: nn.Linear) -> Tensor:
    logits = head(hidden)
    target = torch.zeros(SAMPLES, CLASSES, dtype=logits.dtype)
    for sample, rows in enumerate(ROWS):
        target[sample, rows] = 1
    return F.binary_cross_entropy_with_logits(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        target.to(torch.promote_types(logits.dtype, torch.float32)), reduction="sum")


def run(loss: Loss, dtype: torch.dtype, autocast: torch.dtype | None = None, bias: bool = True,
        frozen: str = "") -> dict[str, Tensor]:
    """The loss and its gradients, times 3, with a second call's added to them."""
    torch.manual_seed(0)
    tower, head = nn.Linear(5, WIDTH).to(dtype), nn.Linear(WIDTH, CLASSES, bias).to(dtype)
    head.weight.data *= 4  # probabilities far from a half
    for name, value in [*tower.named_parameters("tower"), *head.named_parameters("head")]:
        value.requires_grad_(not frozen or not name.startswith(frozen))
    totals = []
    for _ in range(2):
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            hidden = tower(torch.randn(SAMPLES, 5, dtype=dtype))
            total = loss(hidden, head)
        (3 * total).backward()  # type: ignore[no-untyped-call]
        totals.append(total.detach())
    gradients = {
        name: value.grad
        for name, value in [*tower.named_parameters("tower"), *head.named_parameters("head")]
    }
    return {
        "loss": torch.stack(totals),
        **{name: value for name, value in gradients.items() if value is not None}
    }


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, name
        assert (actual[name].double() -
                value.double()).norm() <= tolerance * value.double().norm(), name


@pytest.mark.parametrize(
    "loss",
    [tensor, blocks(1), blocks(7),
     blocks(36), blocks(37), blocks(2048)])
@pytest.mark.parametrize("bias", [True, False])
def test_loss_and_gradients_are_those_of_dense_targets(loss: Loss, bias: bool) -> None:
    expected = run(dense, torch.float64, bias=bias)
    assert {"tower.weight", "head.weight"} < expected.keys()
    assert_close(run(loss, torch.float64, bias=bias), expected, 1e-12)
    assert_close(run(loss, torch.float32, bias=bias), run(dense, torch.float32, bias=bias), 1e-6)


@pytest.mark.parametrize(("autocast", "tolerance"), [(torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_under_autocast_the_head_runs_in_few_bits_and_its_gradients_are_kept_whole(
        autocast: torch.dtype, tolerance: float) -> None:
    actual, expected = run(blocks(7), torch.float32, autocast), run(dense, torch.float32, autocast)
    assert torch.allclose(actual["loss"], expected["loss"], rtol=1e-6)
    assert_close(actual, expected, tolerance)
    # fewer bits than without
    assert (actual["loss"] - run(dense, torch.float32)["loss"]).abs().max() > 1e-4


def test_small_grads_survive_fp16() -> None:
    """Under autocast to fp16 the loss is scaled up before the backward pass, too late for grads
    made in the forward pass.
    """
    hidden, head = torch.ones(1, 4, dtype=torch.float16, requires_grad=True), nn.Linear(4, 3)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -19.0)  # sigmoid: 5.6e-9, which fp16 has not
    total = BinaryCrossEntropy()(LinearOutput(hidden, head.weight, head.bias), *pack([[]]))
    (2.0**16 * total).backward()  # type: ignore[no-untyped-call]
    assert head.weight.grad is not None
    assert torch.allclose(head.weight.grad, torch.full((3, 4), 2.0**16 / (1 + math.exp(19))),
                          rtol=1e-3)


@pytest.mark.parametrize("frozen", ["tower", "head.weight", "head"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    actual, expected = (run(loss, torch.float64, frozen=frozen) for loss in (blocks(7), dense))
    assert not any(name.startswith(frozen) for name in actual)
    assert_close(actual, expected, 1e-12)


def test_it_starts_at_the_number_of_classes_times_the_logarithm_of_two() -> None:
    hidden, weight = torch.randn(3, 16), torch.zeros(24320, 16)
    total = BinaryCrossEntropy()(LinearOutput(hidden, weight, torch.zeros(24320)),
                                 *pack([[5], [], [24319, 0]]))
    assert total.item() / 3 == pytest.approx(24320 * math.log(2), rel=1e-6)
    assert round(total.item() / 3) == 16857


def test_nothing_of_the_size_of_the_logits_is_ever_held() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(),
                               kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for each in torch.utils._pytree.tree_leaves(result):
                if isinstance(each, Tensor):
                    largest = max(largest, each.untyped_storage().nbytes())
            return result

    hidden, head = torch.randn(256, 4, requires_grad=True), nn.Linear(4, 4096)
    with Watch():
        loss = BinaryCrossEntropy(128)(LinearOutput.of(hidden, head),
                                       *pack([[sample] for sample in range(256)]))
        loss.backward()
    assert largest == 4 * max(256 * 128, 4096 * 4)


def test_values_alone_are_computed_without_gradients() -> None:
    hidden, head = torch.randn(SAMPLES, WIDTH, requires_grad=True), nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        actual = blocks(7)(hidden, head)
    assert not actual.requires_grad
    assert torch.allclose(actual, dense(hidden, head))


def test_a_second_backward_pass_is_refused() -> None:
    total = blocks(7)(torch.randn(SAMPLES, WIDTH, requires_grad=True), nn.Linear(WIDTH, CLASSES))
    total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(AttributeError):
        total.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("rows", "message"), [
    ([[1], [2, 10]], r"label_rows of sample b hold 10, but the head has 10 classes: make the "
                     r"model's num_classes"),
    ([[-1], [2]], r"label_rows of sample a hold -1, but the head has 10 classes"),
    ([[1], [4, 2, 4]], r"label_rows of sample b hold 4 twice"),
])
def test_rows_that_are_no_classes_are_told(rows: list[list[int]], message: str, wide: bool) -> None:
    logits = LinearOutput(torch.randn(2, 4), torch.randn(10, 4), None) if wide else torch.randn(
        2, 10)
    with pytest.raises(CorekitError, match=message):
        BinaryCrossEntropy(3)(logits, *pack(rows), key=["a", "b"])
    with pytest.raises(CorekitError, match="needs a block of 1 or more"):
        BinaryCrossEntropy(0)
