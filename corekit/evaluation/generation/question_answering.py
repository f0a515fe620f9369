"""Question answering: how often a model's answers about pictures are right."""

from collections.abc import Sequence
from typing import Literal

from corekit.data.datasets.base import Source
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.generation.evaluation import Decoding, GenerationEvaluation
from corekit.evaluation.generation.replies import Reply
from corekit.evaluation.metrics.generation.figures import Answered, question_estimates
from corekit.evaluation.metrics.uncertainty import Estimates
from corekit.registry import register

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
# prompts other than SHORT, and answers longer than TOKENS, by metric
PROMPTS = {"relaxed": "Answer the question with a single word.", "choice": LETTER,
           "first_letter": LETTER}
LENGTHS = {"anls": 32}
TOKENS = 16


@register("evaluator", "question_answering")
class QuestionAnswering:
    """Answers about pictures by greedy decoding, each question in a conversation of its own.

    ``vqa`` is the official VQA accuracy (VQAv2), ``vqa_normalized`` that of MMF, which changes all
    answers alike (TextVQA, OKVQA); ``anls`` is of DocVQA and InfographicVQA, ``relaxed`` of
    ChartQA, ``exact`` of GQA, ``choice`` of ScienceQA, ``first_letter`` of SEED-Bench, ``mme`` of
    MME. Answers are kept where there is a ``store``, and are the same on any number of ranks.

    Args:
        dataset: questions, such as ``vqav2``.
        metric: what their answers are worth.
        prompt: below each question; None: the metric's own, which asks for a short answer.
        max_new_tokens: after which an answer is cut; None: 16, or 32 of anls.
        batch_size: questions that are answered at a time.
        shots: answered examples before each question, as earlier turns with their pictures.
        shots_dataset: where they are drawn from, such as the training split.
        seed: of that draw.
        blind: whether the figures are also made of answers to the mean colour alone.
        submission: the benchmark's form of the answers, written beside ``answers.jsonl``.

    Raises:
        CorekitError: a data set lacks a field, or there are fewer examples than shots.
    """

    def __init__(self, dataset: Source,
                 metric: Literal["vqa", "vqa_normalized", "anls", "relaxed", "exact", "choice",
                                 "first_letter", "mme"] = "exact", prompt: str | None = None,
                 max_new_tokens: int | None = None, batch_size: int = 16, shots: int = 0,
                 shots_dataset: Source | None = None, seed: int = 0, blind: bool = False,
                 submission: Literal["vqa", "docvqa", "gqa", "seed", "mme"] | None = None) -> None:
        if max_new_tokens is None:
            max_new_tokens = LENGTHS.get(metric, TOKENS)
        decoding = Decoding(PROMPTS.get(metric, SHORT) if prompt is None else prompt,
                            max_new_tokens, batch_size, shots, seed, blind)
        self.metric = metric
        self.evaluation = GenerationEvaluation("question_answering", dataset, shots_dataset,
                                               decoding, submission, self._score)

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every question counts once, whatever the number of ranks."""
        return self.evaluation(eval_model)

    def _score(self, replies: Sequence[Reply]) -> tuple[Estimates, Estimates]:
        return question_estimates(self.metric, [
            Answered(each.answer, each.right, each.category, str(each.question_id))
            for each in replies])
