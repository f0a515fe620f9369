"""Multi-label classification: mean average precision of a model's logits."""

import torch
from torch import Tensor

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.loading.ragged import pack
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_batch_size, check_field, everywhere, outputs
from corekit.evaluation.metrics.average_precision import mean_average_precisions
from corekit.linear_output import LinearOutput
from corekit.registry import register

SCORES = 2**22  # ranked at one time


@register("evaluator", "multi_label")
class MultiLabel:
    """Mean average precision of a multi-label classifier: macro, micro and weighted.

    Classes without a single positive are left out of macro and weighted; the record says how many
    of the ``classes`` are in. Every rank holds what the model gives for all samples: for a
    ``LinearOutput`` the features before the head, [N, D], of which scores are made a block of
    classes at a time; for a tensor, [N, K]. Scores are float32.

    Args:
        dataset: with a ``label_rows`` field, the classes that a sample has.
        features: name of the model's output with the logits, [B, K] or a ``LinearOutput``.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the data set has no such field.
    """

    def __init__(self, dataset: Source, features: str = "logits", batch_size: int = 256) -> None:
        check_batch_size("multi_label", batch_size)
        check_field("multi_label", "dataset", dataset, "label_rows")
        self.dataset, self.features, self.batch_size = dataset, features, batch_size

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        parts: list[Tensor] = []
        positions: list[int] = []
        labels: list[object] = []
        left_out = torch.zeros((), dtype=torch.int64, device=eval_model.device)
        head: LinearOutput | None = None
        for chunk, logits in outputs(eval_model, self.dataset, self.batch_size, self.features):
            head = logits if isinstance(logits, LinearOutput) else None
            rows = logits.hidden if isinstance(logits, LinearOutput) else logits
            parts.append(rows[:len(chunk["image"])].float())
            positions += chunk["position"]
            labels += chunk["label_rows"]
            left_out += chunk["left_out"]
        total = int(self.dataset.shard_sizes.sum())
        position = torch.tensor(positions, dtype=torch.int64, device=eval_model.device)
        gathered = everywhere(eval_model, total, position, torch.cat(parts))
        readable = everywhere(eval_model, total, position, torch.ones_like(position)) > 0
        sample, row = self._positives(eval_model, total, position, labels)
        gathered, sample = gathered[readable], (readable.cumsum(0) - 1)[sample]
        classes = gathered.shape[1] if head is None else head.classes
        self._check(sample, row, classes)
        block = max(1, SCORES // max(1, len(gathered)))

        def scores(first: int, last: int) -> Tensor:
            if head is None:
                return gathered[:, first:last]
            return LinearOutput(gathered, head.weight, head.bias).block(first, last).dense()

        metrics, counted = mean_average_precisions(scores, classes, sample, row, block)
        return Result.on(self.dataset, len(gathered), metrics,
                         left_out=int(eval_model.sum(left_out)), classes=[counted, classes])

    def _positives(self, eval_model: EvalModel, total: int, position: Tensor,
                   labels: list[object]) -> tuple[Tensor, Tensor]:
        """(sample, class) of every positive of the data set, on every rank."""
        rows, offsets = (each.to(eval_model.device) for each in pack(labels))
        own = offsets.diff()
        counts = everywhere(eval_model, total, position, own)
        starts = counts.cumsum(0) - counts
        # where this rank's rows belong among those of all samples
        shift = (starts[position] - offsets[:-1]).repeat_interleave(own)
        slots = torch.arange(len(rows), device=rows.device) + shift
        row = everywhere(eval_model, int(counts.sum()), slots, rows.long())
        return torch.arange(total, device=rows.device).repeat_interleave(counts), row

    def _check(self, sample: Tensor, row: Tensor, classes: int) -> None:
        of_dataset = dataset_info(self.dataset).num_classes or classes
        if of_dataset != classes:
            raise CorekitError(f"evaluator 'multi_label': its dataset has {of_dataset:,} classes, "
                               f"but the model has {classes:,}: give both the same vocabulary")
        wrong = row[(row < 0) | (row >= classes)]
        if len(wrong):
            raise CorekitError(f"evaluator 'multi_label': label_rows hold {int(wrong[0])}, but the "
                               f"model has {classes} classes")
        pair = sample * classes + row
        if len(torch.unique(pair)) < len(pair):
            raise CorekitError("evaluator 'multi_label': the label_rows of a sample hold a class "
                               "twice")
