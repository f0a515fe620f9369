"""Zero-shot classification of a set: one class a sample, or several."""

import numpy as np
import torch

from corekit.data.datasets.base import Source
from corekit.data.shards.notes import read_set_names
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.classification.predictions import class_scores, zero_shot_predictions
from corekit.evaluation.features import everywhere
from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.classification import classification_figures
from corekit.evaluation.metrics.multi_label import multi_label_figures
from corekit.evaluation.suite.checks import check_named, open_shards
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.tasks.base import Arrays
from corekit.evaluation.text_features import TextFeatures
from corekit.registry import register


class _Named:
    """A set with class names and templates in its folder, where an empty line is a name too."""

    def __init__(self, folder: str, eval_set: EvalSet, batch_size: int, **fields: str) -> None:
        self.source: Source = open_shards(folder, **fields)
        self.eval_set, self.batch_size = eval_set, batch_size
        self.names, templates = read_set_names(folder)
        self.templates = check_named(eval_set, self.source, self.names, templates)


@register("task", "classification")
class Classification(_Named):
    """Top-1, top-5, recall and F1 over classes, and figures of groups where the table names one.

    Args:
        folder: with the shards, .cls for the class number, and .npy for the groups.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    def __init__(self, folder: str, eval_set: EvalSet, batch_size: int) -> None:
        metadata = {} if eval_set.group is None else {"metadata": "npy"}
        super().__init__(folder, eval_set, batch_size, label="cls", **metadata)

    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """The best classes of every image; a CorekitError for a label that has no class."""
        return zero_shot_predictions(eval_model, self.source, self.names, self.templates, texts,
                                     self.batch_size)

    def figures(self, predictions: Predictions) -> Figures:
        """As ``classification_figures``."""
        return classification_figures(predictions, self.eval_set.group)

    def count(self, predictions: Predictions) -> int:
        """The images that could be read."""
        return len(predictions["label"])


@register("task", "multi_label")
class MultiLabel(_Named):
    """Mean average precision of images that have several classes.

    Args:
        folder: with the shards, and .npy for a 0 or 1 of every class.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    def __init__(self, folder: str, eval_set: EvalSet, batch_size: int) -> None:
        super().__init__(folder, eval_set, batch_size, label_vector="npy")

    @torch.no_grad()
    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """The cosines of every image and all classes; a CorekitError for a row of other length."""
        classes, positions = len(self.names), list[int]()
        of_scores = [torch.empty(0, classes, device=eval_model.device)]
        of_targets = [torch.empty(0, classes, dtype=torch.uint8, device=eval_model.device)]
        wrong = torch.zeros(1, dtype=torch.int64, device=eval_model.device)
        for chunk, scores in class_scores(eval_model, self.source, self.names, self.templates,
                                          texts, self.batch_size):
            rows = [np.asarray(each, dtype=np.uint8) for each in chunk["label_vector"]]
            fits = [len(row) == classes for row in rows]
            wrong += fits.count(False)
            rows = [row if fit else np.zeros(classes, np.uint8) for row, fit in zip(rows, fits)]
            positions += chunk["position"]
            of_scores.append(scores)
            if rows:
                of_targets.append(torch.from_numpy(np.stack(rows)).to(eval_model.device))
        if int(eval_model.sum(wrong)):
            raise CorekitError(f"{int(wrong):,} samples have not a 0 or 1 for each of {classes} "
                               "class names")
        total = int(self.source.shard_sizes.sum())
        position = torch.tensor(positions, dtype=torch.int64, device=eval_model.device)
        readable = everywhere(eval_model, total, position, torch.ones_like(position)) > 0
        return {name: everywhere(eval_model, total, position, torch.cat(parts))[readable]
                .cpu().numpy() for name, parts in (("scores", of_scores), ("targets", of_targets))}

    def figures(self, predictions: Predictions) -> Figures:
        """As ``multi_label_figures``."""
        return multi_label_figures(predictions)

    def count(self, predictions: Predictions) -> int:
        """The images that could be read."""
        return len(predictions["targets"])
