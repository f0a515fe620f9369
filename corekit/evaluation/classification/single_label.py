"""Classification: the model's own logits against labels."""

import torch

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_batch_size, check_field, encode
from corekit.evaluation.metrics.accuracy import count_hits, figures
from corekit.evaluation.metrics.ties import best_classes
from corekit.registry import register


@register("evaluator", "classification")
class Classification:
    """Top-1, top-5 and mean per-class recall of a classifier.

    Args:
        dataset: with a ``label`` field.
        features: name of the model's output with the logits, [B, K] or a ``LinearOutput``.
        batch_size: images of one forward pass.

    Raises:
        CorekitError: the data set has no labels.
    """

    def __init__(self, dataset: Source, features: str = "logits", batch_size: int = 256) -> None:
        check_batch_size("classification", batch_size)
        check_field("classification", "dataset", dataset, "label")
        self.dataset, self.features, self.batch_size = dataset, features, batch_size

    @torch.no_grad()
    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every sample counts once, whatever the number of ranks."""
        hits = torch.zeros(3, 0, dtype=torch.int64, device=eval_model.device)
        for chunk, logits in encode(eval_model, self.dataset, self.batch_size, self.features):
            classes = logits.shape[1]
            wrong = [label for label in chunk["label"] if not 0 <= label < classes]
            if wrong:
                raise CorekitError(f"evaluator 'classification': a label is {wrong[0]}, but the "
                                   f"model has {classes} classes")
            label = torch.tensor(chunk["label"], dtype=torch.int64, device=eval_model.device)
            new_hits = count_hits(best_classes(logits), label, classes)
            hits = new_hits if not hits.numel() else hits + new_hits
        hits = eval_model.sum(hits)
        return Result.on(self.dataset, int(hits[0].sum()), figures(hits))
