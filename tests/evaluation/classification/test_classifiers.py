"""The evaluators of classifiers: figures of known logits, as tensors and not computed yet, on any
number of ranks.
"""

import pytest
import torch
from torch import Tensor, nn

from corekit import CorekitError
from corekit.evaluation.base import Result
from corekit.evaluation.classification.multi_label import MultiLabel
from corekit.evaluation.classification.single_label import Classification
from corekit.evaluation.metrics.average_precision import mean_average_precisions
from corekit.linear_output import LinearOutput
from tests.evaluation.known import Numbered, eval_model, on_ranks

SAMPLES, WIDTH, CLASSES = 23, 5, 8


class Known(nn.Module):
    """Logits by the picture's number."""

    def __init__(self, wide: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.wide = wide
        self.hidden = torch.randn(SAMPLES, WIDTH, generator=generator)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.head.weight.data = torch.randn(CLASSES, WIDTH, generator=generator)
        self.head.bias.data = torch.randn(CLASSES, generator=generator)

    def logits(self) -> Tensor:
        return self.head(self.hidden).detach()

    def forward(self, image: Tensor) -> dict[str, Tensor | LinearOutput]:
        hidden = self.hidden[(image[:, 0, 0, 0] * 255).round().long()]
        return {"logits": LinearOutput.of(hidden, self.head) if self.wide else self.head(hidden)}


LABEL = [number % CLASSES for number in range(SAMPLES)]
ROWS = [[each for each in range(CLASSES - 1) if number % 4 and (number * 7 + each * 5) % 6 == 0]
        for number in range(SAMPLES)]
BAD = (0, 9, 22)
GOOD = [number for number in range(SAMPLES) if number not in BAD]


def multi_labelled(rows: list[list[int]]) -> Numbered:
    dataset = Numbered(range(SAMPLES), bad=BAD)
    dataset.values["label_rows"] = rows  # type: ignore[assignment]
    dataset.fields = ("image", "label_rows")
    dataset.left_out = frozenset(BAD[:1])
    return dataset


def both(evaluator: Classification | MultiLabel, wide: bool, ranks: int) -> Result:
    actual = on_ranks(evaluator, eval_model(Known(wide)), ranks)
    assert all(result.metrics == actual[0].metrics and result.samples == actual[0].samples
               for result in actual)
    return actual[0]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("ranks", [1, 3])
def test_accuracy_of_known_logits(wide: bool, ranks: int) -> None:
    actual = both(Classification(Numbered(range(SAMPLES), LABEL, bad=BAD), batch_size=4), wide,
                 ranks)
    order = Known(wide).logits().argsort(1, descending=True)
    place = [order[number].tolist().index(LABEL[number]) for number in GOOD]
    assert actual.samples == len(GOOD)
    assert actual.metrics["top1"] == pytest.approx(sum(each == 0 for each in place) / len(GOOD))
    assert actual.metrics["top5"] == pytest.approx(sum(each < 5 for each in place) / len(GOOD))
    assert 0 < actual.metrics["top1"] < actual.metrics["top5"] < 1


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_mean_average_precision_of_known_logits(wide: bool, ranks: int) -> None:
    assert [] in [ROWS[number] for number in GOOD]
    actual = both(MultiLabel(multi_labelled(ROWS), batch_size=2), wide, ranks)
    logits = Known(wide).logits()[GOOD]
    pairs = torch.tensor([(sample, row) for sample, number in enumerate(GOOD)
                          for row in ROWS[number]])
    expected, counted = mean_average_precisions(lambda first, last: logits[:, first:last], CLASSES,
                                                *pairs.T, CLASSES)
    assert actual.metrics == pytest.approx(expected)
    assert len(set(actual.metrics.values())) == 3
    assert actual.details == {"classes": [counted, CLASSES]}
    assert counted == CLASSES - 1
    assert actual.samples == len(GOOD)
    assert actual.unreadable == len(BAD) - 1, "what the data set leaves out is not bad"


def test_labels_that_are_no_classes_are_told() -> None:
    with pytest.raises(CorekitError, match="a label is 8, but the model has 8 classes"):
        Classification(Numbered(range(SAMPLES), [8] * SAMPLES))(eval_model(Known(True)))
    for rows, message in (([[1], [8]], "label_rows hold 8, but the model has 8 classes"),
                       ([[1, 1]], "a class twice")):
        with pytest.raises(CorekitError, match=message):
            MultiLabel(multi_labelled([*([[]] * 2), *rows,
                                       *([[]] * SAMPLES)]))(eval_model(Known(False)))
    other = multi_labelled(ROWS)
    other.num_classes = 3  # type: ignore[attr-defined]
    with pytest.raises(CorekitError, match="its dataset has 3 classes, but the model has .*: give "
                                           "both the same vocabulary"):
        MultiLabel(other)(eval_model(Known(False)))
    with pytest.raises(CorekitError, match="evaluator 'multi_label' needs a data set with a "
                                           "`label_rows` field$"):
        MultiLabel(Numbered(range(3), [0, 1, 2]))
    with pytest.raises(CorekitError, match="`label` field; for shards, set dataset.fields to"):
        Classification(multi_labelled(ROWS))
