"""Retrieval of a set: images by their captions, and captions by their images."""

from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.figure import Figures, Predictions
from corekit.evaluation.metrics.retrieval import retrieval_figures
from corekit.evaluation.retrieval.ranks import retrieval_ranks
from corekit.evaluation.suite.checks import check_count, open_shards
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.tasks.base import Arrays
from corekit.evaluation.text_features import TextFeatures
from corekit.registry import register

BLOCK = 2048  # images, and captions, that are compared at once


@register("task", "retrieval")
class RetrievalTask:
    """Recall at 1, 5 and 10, both ways, and the mean of both at 1.

    Args:
        folder: with the shards, and .txt for captions, one a line.
        eval_set: its line of the table.
        batch_size: images of one forward pass.
    """

    names = templates = ()

    def __init__(self, folder: str, eval_set: EvalSet, batch_size: int) -> None:
        self.source, self.eval_set = open_shards(folder, text="txt"), eval_set
        self.batch_size = batch_size
        check_count(eval_set, self.source)

    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """The ranks of right answers; a CorekitError for another number of captions."""
        ranks = retrieval_ranks(eval_model, self.source, texts, self.batch_size, BLOCK)
        captions = len(ranks["text_owner"])
        if self.eval_set.captions not in (None, captions):
            raise CorekitError(f"evaluation set '{self.eval_set.key}' has {captions:,} captions, "
                               f"but its table says {self.eval_set.captions:,}: it may be another "
                               "split of the set; evaluators.SUITE.check=false takes it as it is")
        return {**ranks}

    def figures(self, predictions: Predictions) -> Figures:
        """As ``retrieval_figures``."""
        return retrieval_figures(predictions)

    def count(self, predictions: Predictions) -> int:
        """The images that could be read."""
        return len(predictions["image_right"])
