"""Retrieval: images by their captions, and captions by their images."""

from corekit.data.datasets.base import Source
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_field
from corekit.evaluation.metrics.retrieval import retrieval_figures
from corekit.evaluation.retrieval.ranks import retrieval_ranks
from corekit.evaluation.text_features import TextFeatures
from corekit.registry import register


@register("evaluator", "retrieval")
class Retrieval:
    """Recall at 1, 5 and 10 by cosine similarity, from images to captions and back.

    Every line of a sample's text is a caption of its own. Image to text counts an image whose first
    k captions hold one of its own (Karpathy and Fei-Fei 2015); text to image has a query for each
    caption. Where scores are equal, a figure is its mean over all orders of the equal ones: a model
    that answers everything alike gets what chance gives.

    The ranks share images, captions and comparisons; all features are held on every rank's device.

    Args:
        dataset: with a ``text`` field.
        batch_size: images of one forward pass.
        block: images, and captions, that are compared at once: the scores held are at most block x
            block.

    Raises:
        CorekitError: the data set has no texts.
    """

    def __init__(self, dataset: Source, batch_size: int = 256, block: int = 2048) -> None:
        check_field("retrieval", "dataset", dataset, "text")
        if min(batch_size, block) < 1:
            raise CorekitError("evaluator 'retrieval' needs batch_size and block of 1 or more")
        self.dataset, self.batch_size, self.block = dataset, batch_size, block

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every image and every caption counts once, whatever the number of ranks."""
        ranks = retrieval_ranks(eval_model, self.dataset, TextFeatures(eval_model),
                                self.batch_size, self.block)
        metrics = {name: figure.value for name, figure in retrieval_figures(ranks).items()
                   if figure.value is not None and name != "mean_r1"}
        return Result.on(self.dataset, len(ranks["image_above"]), metrics,
                         captions=len(ranks["text_above"]))
