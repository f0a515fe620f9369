"""Captioning: how near a model's captions are to people's."""

from collections.abc import Sequence

from corekit.data.datasets.base import Source
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.generation.evaluation import Decoding, GenerationEvaluation
from corekit.evaluation.generation.replies import Reply
from corekit.evaluation.metrics.generation.figures import caption_estimates
from corekit.evaluation.metrics.uncertainty import Estimates
from corekit.registry import register


@register("evaluator", "captioning")
class Captioning:
    """``cider``, ``bleu1`` to ``bleu4`` and ``rouge_l`` of captions by greedy decoding.

    CIDEr depends on the whole set; by category it is of the category's own pictures. METEOR and
    SPICE are left out, which need Java. Captions are kept where there is a ``store``, and are the
    same on any number of ranks.

    Args:
        dataset: captions, such as ``coco_captions``.
        prompt: what the model is asked.
        max_new_tokens: after which a caption is cut.
        batch_size: pictures that are described at a time.
        shots: examples before each picture, as earlier turns with their pictures.
        shots_dataset: where they are drawn from, such as the training split.
        seed: of that draw.
        blind: whether the figures are also made of captions of the mean colour alone.

    Raises:
        CorekitError: a data set lacks a field, or there are fewer examples than shots.
    """

    def __init__(self, dataset: Source,
                 prompt: str = "Provide a one-sentence caption for the provided image.",
                 max_new_tokens: int = 64, batch_size: int = 16, shots: int = 0,
                 shots_dataset: Source | None = None, seed: int = 0, blind: bool = False) -> None:
        decoding = Decoding(prompt, max_new_tokens, batch_size, shots, seed, blind)
        self.evaluation = GenerationEvaluation("captioning", dataset, shots_dataset, decoding,
                                               "captions", _score)

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every picture counts once, whatever the number of ranks."""
        return self.evaluation(eval_model)


def _score(replies: Sequence[Reply]) -> tuple[Estimates, Estimates]:
    categories = sorted({each.category for each in replies} - {""})
    return _figures(replies), {
        name: _figures([each for each in replies if each.category == name])["cider"]
        for name in categories}


def _figures(replies: Sequence[Reply]) -> Estimates:
    return caption_estimates([each.answer for each in replies], [each.right for each in replies])
