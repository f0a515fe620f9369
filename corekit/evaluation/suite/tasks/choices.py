"""Choices among pictures and sentences: selection of captions, matching, and WinoGAViL."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from corekit.data.datasets.choices.instances import Instance, InstanceSource
from corekit.data.datasets.choices.shards import Choices
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import encode, everywhere
from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.choices import (
    matching_figures,
    selection_figures,
    winogavil_figures,
)
from corekit.evaluation.metrics.ties import TIE, best_classes
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.tasks.base import Arrays
from corekit.evaluation.text_features import TextFeatures
from corekit.registry import register

Scores = NDArray[np.float32]  # [pictures, sentences] of one instance


class _Choices:
    """Pictures, each encoded once, and the cosines of every instance."""

    names = templates = ()
    METRICS: Callable[[Predictions], Figures]

    def __init__(self, folder: str, eval_set: EvalSet, batch_size: int) -> None:
        self.source: InstanceSource = Choices(folder)
        self.eval_set, self.batch_size = eval_set, batch_size
        count = len(self.source.instances)
        if eval_set.samples not in (None, count):
            raise CorekitError(f"evaluation set '{eval_set.key}' has {count:,} instances, but its "
                               f"table says {eval_set.samples:,}; evaluators.SUITE.check=false "
                               "takes it as it is")

    @torch.no_grad()
    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """What each instance comes to, of those whose pictures can all be read."""
        parts: list[Tensor] = []
        positions: list[int] = []
        for chunk, features in encode(eval_model, self.source, self.batch_size):
            positions += chunk["position"]
            parts.append(F.normalize(features, dim=-1))
        total = int(self.source.shard_sizes.sum())
        position = torch.tensor(positions, dtype=torch.int64, device=eval_model.device)
        readable = everywhere(eval_model, total, position, torch.ones_like(position)).tolist()
        pictures = everywhere(eval_model, total, position, torch.cat(parts))
        instances = [each for each in self.source.instances
                     if all(readable[picture] for picture in each.pictures)]
        if not instances:
            raise CorekitError(f"evaluation set '{self.eval_set.key}': no instance can be read")
        texts.encode(sentence for each in instances for sentence in each.sentences)
        rows = [self.outcome(each, _scores(pictures, texts, each)) for each in instances]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def outcome(self, instance: Instance, scores: Scores) -> Arrays:
        """What is kept of one instance."""
        raise NotImplementedError

    def figures(self, predictions: Predictions) -> Figures:
        """The figures of predictions."""
        return type(self).METRICS(predictions)

    def count(self, predictions: Predictions) -> int:
        """The instances that were predicted."""
        return len(next(iter(predictions.values())))


@register("task", "selection")
class Selection(_Choices):
    """The right caption of a picture among wrong ones, as in SugarCrepe and ARO.

    Args:
        folder: with the shards of the pictures and instances.jsonl.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    METRICS = staticmethod(selection_figures)

    def outcome(self, instance: Instance, scores: Scores) -> Arrays:
        """``above`` and ``tied``: wrong captions above the best right one, and equal to it."""
        is_right = np.isin(np.arange(len(instance.sentences)), instance.right)
        ahead = scores[0, ~is_right] - scores[0, is_right].max()
        return {"above": np.asarray((ahead > TIE).sum()),
                "tied": np.asarray((np.abs(ahead) <= TIE).sum())}


@register("task", "matching")
class Matching(_Choices):
    """Two pictures and two captions, as in Winoground.

    Args:
        folder: with the shards of the pictures and instances.jsonl.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    METRICS = staticmethod(matching_figures)

    def outcome(self, instance: Instance, scores: Scores) -> Arrays:
        """``scores`` [2, 2]: of each picture with its own caption first."""
        return {"scores": scores[:, list(instance.right)]}


@register("task", "winogavil")
class WinoGAViL(_Choices):
    """As many pictures as belong to a cue, chosen by cosine.

    Args:
        folder: with the shards of the pictures and instances.jsonl.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    METRICS = staticmethod(winogavil_figures)

    def outcome(self, instance: Instance, scores: Scores) -> Arrays:
        """``jaccard`` of chosen and right pictures, ``candidates``, and whether a tie decided."""
        count = len(instance.right)
        of_pictures = torch.from_numpy(scores[:, 0])
        chosen = best_classes(of_pictures[None], count)[0].tolist()
        both, either = set(chosen) & set(instance.right), set(chosen) | set(instance.right)
        ordered = of_pictures.sort(descending=True).values
        is_tied = count < len(ordered) and bool(ordered[count - 1] == ordered[count])
        return {"jaccard": np.asarray(len(both) / len(either)),
                "candidates": np.asarray(len(instance.pictures)), "tied": np.asarray(is_tied)}


def _scores(pictures: Tensor, texts: TextFeatures, instance: Instance) -> Scores:
    """The cosines of an instance's pictures and sentences."""
    scores: Scores = (pictures[list(instance.pictures)] @ texts(instance.sentences).T).cpu().numpy()
    return scores
