"""One step on 1, 2 and 4 ranks and any number of micro-batches against plain autograd on the whole
batch.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from corekit.data.loading.loader import split
from corekit.errors import CorekitError
from corekit.seeds import derive_seed
from corekit.train.step.loss_terms import WeightedLoss
from corekit.train.step.prepare import Frozen, MicroBatch, Prepare
from corekit.wiring import Wiring
from tests.conftest import succeeded
from tests.train.step import step_on_ranks
from tests.train.step.steps import step_of

Results = dict[int, dict[str, dict[str, Tensor]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("steps")
    for ranks in (1, 2, 4):
        succeeded(folder, "tests.train.step.step_on_ranks", str(folder), ranks=ranks)
    return {ranks: torch.load(folder / f"{ranks}.pt", weights_only=True) for ranks in (1, 2, 4)}


def reference(which: str) -> dict[str, Tensor]:
    """Plain autograd on the whole batch at once."""
    model, batch = step_on_ranks.model(norm=False), step_on_ranks.batch()
    outputs = model(batch["image"], batch["text"])
    logits = outputs["logit_scale"] * outputs["image_features"] @ outputs["text_features"].T
    target = torch.arange(step_on_ranks.SAMPLES)
    contrastive = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    mask = batch["mask"]
    assert isinstance(mask, Tensor)
    mask = mask * torch.rand(step_on_ranks.SAMPLES, generator=torch.Generator().manual_seed(
        # of each sample, whatever rank and micro-batch it is in
        derive_seed(0, "draw", step_on_ranks.STEP)))
    masked = (F.cross_entropy(outputs["logits"], batch["label"], reduction="none") *
              mask).sum() / mask.sum()  # type: ignore[arg-type]
    target = torch.stack([
        torch.arange(step_on_ranks.CLASSES) < number % 4 for number in range(step_on_ranks.SAMPLES)
    ]).double()
    wide = F.binary_cross_entropy_with_logits(outputs["wide_logits"].dense(), target,
                                              reduction="sum") / step_on_ranks.SAMPLES
    loss = {
        "contrastive": 0.7 * contrastive, "masked": 1.3 * masked,
        "both": 0.7 * contrastive + 1.3 * masked, "wide": 0.9 * wide
    }[which]
    loss.backward()
    gradients = {
        name: value.grad for name, value in model.named_parameters() if value.grad is not None
    }
    return {"loss loss": loss.detach(), **gradients}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor],
                 tolerance: float = 1e-10) -> None:
    for name, value in expected.items():
        difference = (actual[name].double() - value.double()).norm()
        assert difference <= tolerance * max(1e-3, float(value.double().norm())), name


@pytest.mark.parametrize("which", ["contrastive", "masked", "both", "wide"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 12])
def test_any_micro_batches_give_the_gradients_of_the_whole_batch(results: Results, which: str,
                                                                 ranks: int,
                                                                 micro_batches: int) -> None:
    if micro_batches % ranks:
        assert str((which, False, 0.0, micro_batches)) not in results[ranks]
        return
    assert_equal(results[ranks][str((which, False, 0.0, micro_batches))], reference(which))


@pytest.mark.parametrize("which", ["contrastive", "masked", "both"])
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("micro_batches", [4, 12])
def test_sharded_models_have_the_gradients_of_whole_ones(results: Results, which: str, ranks: int,
                                                         micro_batches: int) -> None:
    assert_equal(results[ranks][str(("fsdp", which, False, 0.0, micro_batches))], reference(which))
    for dropout in (0.0, 0.3):
        assert_equal(results[ranks][str(("fsdp", which, True, dropout, micro_batches))],
                     results[1][str((which, True, dropout, micro_batches))])


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("micro_batches", [4, 12])
def test_a_head_that_the_loss_evaluates_may_be_sharded(results: Results, ranks: int,
                                                       micro_batches: int) -> None:
    assert_equal(results[ranks][str(("fsdp", "wide", False, 0.0, micro_batches))],
                 reference("wide"))


@pytest.mark.parametrize(("which", "micro_batches", "reached"), [
    ("contrastive", 4, ["image_tower", "logit_scale", "text_tower"]),
    ("masked", 4, ["head", "image_tower.0"]),
    ("some", 4, ["branch", "head", "image_tower.0"]),
    ("some", 12, ["branch", "head", "image_tower.0"]),
])
def test_what_the_loss_does_not_reach_has_no_gradient_on_any_ranks(
        results: Results, which: str, micro_batches: int, reached: list[str]) -> None:
    case = (which, False, 0.0, micro_batches)
    alone = results[1][str(case)]
    names = [name for name in alone if not name.startswith(("loss", "buffer"))]
    assert all(name.startswith(tuple(reached)) for name in names)
    assert all(any(name.startswith(each) for name in names) for each in reached)
    for ranks in (2, 4):
        for shared in (results[ranks][str(case)], results[ranks][str(("fsdp", *case))]):
            assert shared.keys() == alone.keys()
            assert_equal(shared, alone)


def test_what_the_loss_does_not_reach_is_named_once() -> None:
    step = step_of(step_on_ranks.model(norm=False), step_on_ranks.losses("contrastive"), 1)
    for number in range(2):
        step([step_on_ranks.batch()], number)
        assert bool(step.message) == (number == 0)
        if step.message:
            assert ("does not reach 6 of the 13 parameters that are trained: head.weight, "
                    "head.bias, wide_head.weight") in step.message


def test_a_loss_that_reaches_nothing_is_an_error() -> None:
    def constant(logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits.detach(), label, reduction="sum")

    step = step_of(step_on_ranks.model(norm=False), [WeightedLoss.of(constant, "constant")], 1)
    with pytest.raises(CorekitError, match="reaches no parameter"):
        step([step_on_ranks.batch()], 0)


@pytest.mark.parametrize("which", ["contrastive", "masked", "both"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("ranks", [2, 4])
def test_equal_micro_batches_give_equal_gradients_and_statistics_on_any_ranks(
        results: Results, which: str, dropout: float, ranks: int) -> None:
    for micro_batches in (4, 12):
        case = str((which, True, dropout, micro_batches))
        expected = results[1][case]
        assert any(name.endswith("running_mean") for name in expected)
        assert_equal(results[ranks][case], expected)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batches", [1, 4, 12])
def test_a_loss_that_is_a_mean_is_averaged_over_the_micro_batches(results: Results, ranks: int,
                                                                  micro_batches: int) -> None:
    if micro_batches % ranks:
        return
    model = step_on_ranks.model(norm=False)
    total = torch.zeros((), dtype=torch.float64)
    for batch in split(step_on_ranks.batch(), micro_batches, step_on_ranks.FIELDS):
        logits = model(batch["image"], batch["text"])["logits"]
        parts = step_on_ranks.MicroBatchMean()(logits, batch["label"])
        total = total + 0.6 * (parts["hard"] + parts["all"]) / micro_batches
    total.backward()  # type: ignore[no-untyped-call]
    expected = {name: value.grad for name, value in model.named_parameters()
                if value.grad is not None}
    actual = results[ranks][str(("mean", False, 0.0, micro_batches))]
    assert_equal(actual, {"loss loss": total.detach(), **expected})


def test_a_micro_batch_is_prepared_into_a_new_dict_and_frozen_modules_run_once() -> None:
    calls: list[int] = []

    def frozen_features(image: Tensor) -> dict[str, Tensor]:
        calls.append(len(image))
        return {"target": 2 * image}

    batch = {"key": ["a", "b"], "image": torch.ones(2, 3)}
    module = Frozen("teacher", Wiring.of("teacher", frozen_features), None)
    micro_batch = MicroBatch(batch, batch, Prepare(dict, [module]))
    first, again = micro_batch.prepared(), micro_batch.prepared()
    assert torch.equal(first["target"], 2 * batch["image"])  # type: ignore[operator]
    assert again["target"] is first["target"]
    assert calls == [2]
    assert batch.keys() == {"key", "image"}


def test_statistics_are_updated_once_a_step_by_the_mean_over_micro_batches(
        results: Results) -> None:
    batch, model = step_on_ranks.batch(), step_on_ranks.model(norm=True)
    image = batch["image"]
    assert isinstance(image, Tensor)
    hidden = model.image_tower[0][0](image).detach().view(4, -1, 8)
    actual = results[1][str(("contrastive", True, 0.0, 4))]
    assert torch.allclose(actual["buffer image_tower.0.1.running_mean"],
                          0.1 * hidden.mean(1).mean(0), rtol=1e-10)
    assert torch.allclose(actual["buffer image_tower.0.1.running_var"],
                          0.9 + 0.1 * hidden.var(1).mean(0), rtol=1e-10)
    assert int(actual["buffer image_tower.0.1.num_batches_tracked"]) == 1


@pytest.mark.parametrize("which", ["contrastive", "masked", "both"])
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_loss_scale_is_in_the_gradients_and_not_in_the_figures(which: str,
                                                                   micro_batches: int) -> None:
    results = []
    for scale in (1.0, 8.0):
        model = step_on_ranks.model(norm=False)
        step = step_of(model, step_on_ranks.losses(which), micro_batches)
        step.forward.precision.loss_scale = scale
        figures, _ = step(split(step_on_ranks.batch(), micro_batches, step_on_ranks.FIELDS), 0)
        grads = {name: value.grad / scale for name, value in model.named_parameters()
                 if value.grad is not None}
        results.append({"loss": torch.tensor(figures["loss"]), **grads})
    assert len(results[0]) > 2
    assert_equal(results[1], results[0])
