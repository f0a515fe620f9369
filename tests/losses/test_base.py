"""What the trainer reads of anybody's loss: an object, a function or a module; with defaults."""

import torch
from torch import Tensor, nn

from corekit.losses.base import LossEntry
from corekit.train.step.loss_terms import WeightedLoss, step_divisors
from tests.train.step.steps import ALONE


def squared_error(logits: Tensor, label: Tensor) -> Tensor:
    return (logits - label).square().sum()


class Module(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.sum()


class Everything:
    compares_samples = True
    gathered_as = {"teacher": torch.bfloat16}
    on_cpu = ("label",)
    end_token = 7

    def weights(self, label: Tensor) -> Tensor:
        return label.sum()

    def __call__(self, logits: Tensor, label: Tensor, teacher: Tensor,
                 rows: slice | None = None) -> Tensor:
        return logits.sum()


class Captions:
    """Its parts share one weight."""

    on_cpu = ("text",)

    def weights(self, text: Tensor) -> Tensor:
        return (text > 0).sum()

    def __call__(self, logits: Tensor, text: Tensor) -> dict[str, Tensor]:
        assert text.tolist() == [[1, 0]], "the one that was read"
        return {"a": logits.sum(), "b": 2 * logits.sum()}


def test_a_plain_function_and_a_module_have_the_defaults() -> None:
    for loss in (squared_error, Module()):
        entry = LossEntry.of(loss)
        assert (entry.compares_samples, entry.takes_rows, entry.weights) == (False, False, None)
        assert (entry.gathered_as, entry.on_cpu, entry.end_token) == ({}, frozenset(), None)
    assert WeightedLoss.of(Module(), "module").wiring.reads == {"logits": "logits"}
    loss = WeightedLoss.of(squared_error, "error")
    sums = loss.wiring({"logits": torch.ones(2), "label": torch.zeros(2)})
    [(part, value)] = loss.parts(sums)
    assert (part, float(value)) == ("error", 2.0)


def test_attributes_are_read_and_follow_the_recipes_renamings() -> None:
    loss = WeightedLoss.of(Everything(), "all", 2.0, inputs={"label": "rows_of", "teacher": "t"})
    assert loss.entry.compares_samples
    assert loss.entry.takes_rows
    assert loss.entry.end_token == 7
    assert loss.gathered_as == {"t": torch.bfloat16}
    assert loss.on_cpu == {"rows_of"}
    assert loss.weights is not None
    assert loss.weights({"rows_of": torch.tensor([3, 4])}) == 7
    assert loss.wiring.missing([]) == ["logits", "rows_of", "t"]


def test_parts_may_share_a_weight_and_labels_come_from_the_cpu() -> None:
    loss = WeightedLoss.of(Captions(), "captions")
    read = {"key": ["x"], "text": torch.tensor([[1, 0]])}
    divisors = step_divisors([loss], [read, read], ALONE)
    assert divisors == {"captions": torch.tensor(2.0, dtype=torch.float64)}
    entries = {"logits": torch.tensor([3.0]), "text": "on another device"}
    sums = loss.wiring.function(**loss.arguments(entries, read))
    means = {part: float(mean) for part, mean in loss.means(sums, divisors)}
    assert means == {"captions/a": 1.5, "captions/b": 3.0}
