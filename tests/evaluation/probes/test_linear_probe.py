"""The linear probe: what it reaches, how it chooses, and that it leaves the model as it was."""

import hashlib

import pytest
import torch
from torch import Tensor, nn

from corekit import CorekitError
from corekit.evaluation.probes.linear_probe import LinearProbe
from corekit.evaluation.probes.probe import rank
from tests.evaluation.known import Numbered, Table, eval_model, on_ranks

CLASSES, WIDTH, TRAIN, TEST = 6, 16, 90, 45


def blobs(noise: float) -> tuple[Table, Numbered, Numbered]:
    """Features around a centre for each class, far from zero and on an odd scale; test samples are
    other ones.
    """
    generator = torch.Generator().manual_seed(2)
    label = torch.arange(TRAIN + TEST) % CLASSES
    features = torch.randn(CLASSES, WIDTH, generator=generator)[label]
    features = features + noise * torch.randn(features.shape, generator=generator)
    features = 5 + features * torch.logspace(-2, 2, WIDTH)
    labels = label.tolist()
    return (Table(features), Numbered(range(TRAIN), labels[:TRAIN], bad=[3, 50]),
            Numbered(range(TRAIN, TRAIN + TEST), labels[TRAIN:], bad=[7]))


def probe(test: Numbered, train: Numbered, **more: object) -> LinearProbe:
    return LinearProbe(
        **{
            "dataset": test, "train_dataset": train, "epochs": 25,
            "batch_size": 32,  # type: ignore[arg-type]
            "forward_batch_size": 10, **more
        })


def test_separable_classes_are_told_apart_and_noise_is_not() -> None:
    model, train, test = blobs(0.1)
    result = probe(test, train)(eval_model(model))
    assert result.metrics == {"top1": 1.0, "top5": 1.0, "mean_per_class_recall": 1.0}
    assert result.samples == TEST - 1
    assert len(result.details["grid"]) == 14
    noisy = Table(torch.randn(TRAIN + TEST, WIDTH))
    assert probe(test, train)(eval_model(noisy)).metrics["top1"] < 0.5


def test_every_image_passes_through_the_model_once() -> None:
    model, train, test = blobs(0.1)
    probe(test, train)(eval_model(model))
    readable = [index for index in range(TRAIN + TEST) if index not in (3, 50, TRAIN + 7)]
    assert sorted(model.seen) == readable


def test_labels_of_the_test_samples_never_matter_for_the_choice() -> None:
    model, train, test = blobs(1.5)
    first = probe(test, train)(eval_model(model))
    upside_down = Numbered(test.numbers, [CLASSES + 2 - label for label in test.values["label"]],
                           bad=[7])
    second = probe(upside_down, train)(eval_model(model))
    assert first.details == second.details
    assert first.metrics["top1"] > 0.4 > second.metrics["top1"]


def test_the_best_on_the_validation_samples_is_reported() -> None:
    model, train, test = blobs(1.0)
    result = probe(test, train)(eval_model(model))
    grid, best = result.details["grid"], result.details["chosen"]
    assert [(point["learning_rate"], point["weight_decay"]) for point in grid[:3]] == [(1e-4, 0.0),
                                                                                       (1e-4, 0.1),
                                                                                       (3e-4, 0.0)]
    assert best in grid
    assert best["validation_top1"] == max(point["validation_top1"] for point in grid)
    assert best["validation_loss"] == min(
        point["validation_loss"] for point in grid
        if point["validation_top1"] == best["validation_top1"])
    alone = probe(test, train, learning_rates=[best["learning_rate"]],
                  weight_decays=[best["weight_decay"]])(eval_model(model))
    assert alone.metrics == result.metrics
    assert alone.details["chosen"] == pytest.approx(best, rel=1e-4)
    useless = probe(test, train, learning_rates=[1e-9, best["learning_rate"],
                                                 1e30])(eval_model(model)).details
    assert useless["chosen"]["learning_rate"] == best["learning_rate"]
    assert useless["grid"][-1]["validation_loss"] is None, "JSON has no NaN"
    lucky = {"validation_top1": 1.0, "validation_loss": None}
    assert rank(lucky) < rank({"validation_top1": 0.1,
                               "validation_loss": 9.0}), "a head that diverged is never chosen"


def test_the_validation_part_is_not_trained_on() -> None:
    # labels without any rule, and more dimensions than samples: what is trained on is known by
    # heart, nothing else is
    generator = torch.Generator().manual_seed(4)
    model = Table(torch.randn(200, 256, generator=generator))
    label = torch.randint(0, 10, (200,), generator=generator).tolist()
    data = Numbered(range(200), label)
    by_heart = probe(data, data, validation_dataset=data)(eval_model(model))
    assert by_heart.details["chosen"]["validation_top1"] == 1
    held_out = probe(data, data, validation_fraction=0.4)(eval_model(model))
    assert held_out.details["chosen"]["validation_top1"] < 0.4
    assert held_out.metrics["top1"] == pytest.approx(0.6 + 0.4 *
                                                     held_out.details["chosen"]["validation_top1"])


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_change_nothing(world: int) -> None:
    model, train, test = blobs(1.0)
    evaluator = probe(test, train)
    alone = evaluator(eval_model(model, workers=0))
    model.seen.clear()
    for result in on_ranks(evaluator, eval_model(model), world):
        assert (result.metrics, result.samples) == (alone.metrics, alone.samples)
        assert result.details == alone.details
    # ranks that have run out of images run the model on a black one
    blanks = model.seen.count(0) - 1
    assert len(model.seen) - blanks == TRAIN + TEST - 3


class Trunk(nn.Module):
    """A model with batch statistics and dropout that gives its features by forward alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, WIDTH), nn.BatchNorm1d(WIDTH),
                                    nn.Dropout(0.5))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.layers(image)
        return {"pooled": features, "tokens": features[:, None], "first": features[:, :2]}


def state_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def test_the_model_is_left_as_it_was() -> None:
    _, train, test = blobs(1.0)
    torch.manual_seed(0)
    model = Trunk().eval()
    before, drawn = state_hash(model), torch.get_rng_state()
    first = probe(test, train)(eval_model(model))
    assert state_hash(model) == before
    assert all(parameter.grad is None and parameter.requires_grad
               for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(),
                       drawn), "training goes on with the draws it would have had"
    assert probe(test, train)(eval_model(model)).details == first.details


def test_other_outputs_of_the_model() -> None:
    _, train, test = blobs(1.0)
    model = Trunk().eval()
    both = [
        probe(test, train, features=name, epochs=2)(eval_model(model)).details["grid"]
        for name in (None, "pooled", "first")
    ]
    assert both[0] == both[1] != both[2]
    with pytest.raises(CorekitError, match="gives no `last`, but pooled, tokens, first"):
        probe(test, train, features="last")(eval_model(model))
    with pytest.raises(CorekitError, match=r"one vector for each image, not \[1, 16\]"):
        probe(test, train, features="tokens")(eval_model(model))


def test_what_it_cannot_do_is_said() -> None:
    _, train, test = blobs(1.0)
    with pytest.raises(CorekitError, match=r"`label` field; for shards, set train_dataset.fields"):
        probe(test, Numbered(range(3), text=["a", "b", "c"]))
    with pytest.raises(CorekitError, match="learning_rates above 0"):
        probe(test, train, learning_rates=[0.1, 0.0])
    with pytest.raises(CorekitError, match="validation_fraction between 0 and 1"):
        probe(test, train, validation_fraction=1.0)
    with pytest.raises(CorekitError, match="epochs"):
        probe(test, train, epochs=0)
    with pytest.raises(CorekitError, match="hold some out"):
        probe(test, Numbered([0], [0]))(eval_model(blobs(1.0)[0]))
