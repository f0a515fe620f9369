"""What the evaluators that let a model generate have in common."""

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from corekit.data.datasets.base import BadSampleError, Source
from corekit.data.image_grid import Picture, captioned_grid
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import check_batch_size
from corekit.evaluation.generation.kept_replies import KeptReplies
from corekit.evaluation.generation.prompts import Prompted
from corekit.evaluation.generation.replies import Generator, Replies, Reply, all_replies
from corekit.evaluation.generation.submission import SUBMISSIONS, answer_lines
from corekit.evaluation.metrics.uncertainty import Estimates
from corekit.evaluation.stored_features import data_version
from corekit.records import figures

log = logging.getLogger(__name__)
FIELDS = ("pictures", "question", "answers", "question_id", "category")
LOOKS = 8  # questions to look at
Score = Callable[[Sequence[Reply]], tuple[Estimates, Estimates]]  # the figures, by category, too


class Decoding(NamedTuple):
    """How questions are asked and answers made.

    Attributes:
        prompt: below each question.
        max_new_tokens: after which an answer is cut.
        batch_size: questions that are answered at a time.
        shots: answered examples before each question.
        seed: of the choice of examples.
        blind: also without seeing anything.
    """

    prompt: str
    max_new_tokens: int
    batch_size: int
    shots: int
    seed: int
    blind: bool


class GenerationEvaluation:
    """Replies to the questions of a data set, their figures, and the files made of them.

    Args:
        evaluator: the entry's name.
        dataset: the questions.
        shots_dataset: where examples come from.
        decoding: how they are asked.
        submission: the form of what is handed in; None: no such file.
        score: gives the figures of replies.

    Raises:
        CorekitError: a data set lacks a field, or a number makes no sense.
    """

    def __init__(self, evaluator: str, dataset: Source, shots_dataset: Source | None,
                 decoding: Decoding, submission: str | None, score: Score) -> None:
        check_batch_size(evaluator, decoding.batch_size)
        if decoding.max_new_tokens < 1 or decoding.shots < 0:
            raise CorekitError(f"evaluator '{evaluator}' needs max_new_tokens of 1 or more and "
                               "shots of 0 or more")
        for argument, source in (("dataset", dataset), ("shots_dataset", shots_dataset)):
            missing = [name for name in FIELDS if source and name not in source.fields]
            if missing:
                raise CorekitError(f"evaluator '{evaluator}': {argument} has no `{missing[0]}`: it "
                                   "is to be one of questions, such as vqav2, or captions")
        self.evaluator, self.dataset, self.decoding = evaluator, dataset, decoding
        self.submission, self.score, self.shots_dataset = submission, score, shots_dataset
        self.prompted = Prompted(dataset, decoding.prompt, shots_dataset, decoding.shots,
                                 decoding.seed)

    def __call__(self, eval_model: EvalModel) -> Result:
        """Evaluate; every question counts once, whatever the number of ranks."""
        if not self.dataset.shard_sizes.sum():
            raise CorekitError("the data set of an evaluator holds no samples; set data.root, or "
                               "its own root")
        replies, left_out = self._replies(eval_model, blind=False)
        if not replies:
            raise CorekitError("the data set of an evaluator holds no question that can be asked")
        ordered = [*replies.values()]
        estimates, by_category = self._figures(ordered)
        blind_by_category: Estimates = {}
        if self.decoding.blind:
            of_blind, _ = self._replies(eval_model, blind=True)
            of_all, blind_by_category = self._figures([*of_blind.values()])
            estimates |= {f"blind_{name}": each for name, each in of_all.items()}
        if by_category:
            log.info(_by_category(by_category, blind_by_category))
        metrics = _values(estimates)
        errors = {name: each.figure().standard_error for name, each in estimates.items()}
        categories = {"by_category": _values(by_category),
                      **({"blind_by_category": _values(blind_by_category)}
                         if self.decoding.blind else {})}
        files = SUBMISSIONS[self.submission](ordered) if self.submission else {}
        return Result.on(
            self.dataset, len(replies), metrics, self._looks(eval_model, replies), left_out,
            {"answers.jsonl": answer_lines(ordered), **files}, **categories,
            standard_errors={name: error for name, error in errors.items() if error is not None},
            decoding=self.decoding._asdict())

    def _figures(self, replies: Sequence[Reply]) -> tuple[Estimates, Estimates]:
        """Those of the replies whose right answers are known; there may be none."""
        known = [reply for reply in replies if reply.right]
        return self.score(known) if known else ({}, {})

    def _replies(self, eval_model: EvalModel, blind: bool) -> tuple[Replies, int]:
        generator = Generator(eval_model, self.evaluator, self.decoding.max_new_tokens, blind)
        kept, total = None, int(self.dataset.shard_sizes.sum())
        if eval_model.store is not None:
            tokenizer, examples = generator.tokenizer, self.shots_dataset
            decides = {**self.decoding._asdict(), "blind": blind,
                       "data": data_version(self.dataset),
                       "examples": examples and data_version(examples),
                       "context_length": tokenizer.context_length}
            kept = KeptReplies(eval_model, decides, -(-total // self.decoding.batch_size))
        return all_replies(generator, self.prompted, self.decoding.batch_size, kept)

    def _looks(self, eval_model: EvalModel, replies: Replies) -> dict[str, Picture]:
        """The first questions with their first pictures, on the first rank."""
        if eval_model.rank:
            return {}
        pictures, captions = list[Picture](), list[str]()
        for number, reply in islice(replies.items(), LOOKS):
            try:
                handle = self.prompted.read(*self._place(number), 1)[0]
                images = self.dataset.decode(handle[1])["pictures"]
                if images:
                    pixels = eval_model.preprocess.crop(images[0])
                    pictures.append(pixels.permute(1, 2, 0).numpy())
                    right = " | ".join(dict.fromkeys(reply.right))
                    captions.append("\n".join(filter(None, [
                        reply.question, f"> {reply.answer}", f"({right})" if right else ""])))
            except BadSampleError:
                continue
        return {"replies": captioned_grid(pictures, captions)} if pictures else {}

    def _place(self, number: int) -> tuple[int, int]:
        """The shard of a question, and its number there."""
        shard = int(self.prompted.starts.searchsorted(number, side="right")) - 1
        return shard, number - int(self.prompted.starts[shard])


def _values(estimates: Estimates) -> dict[str, float]:
    return {name: each.value for name, each in estimates.items() if each.value is not None}


def _by_category(estimates: Estimates, blind: Estimates) -> str:
    """The figure of each category, for people."""
    parts = []
    for name, each in estimates.items():
        without = figures({"blind": blind[name].value or 0.0}) if name in blind else ""
        number = figures({name: each.value or 0.0})
        parts.append(f"{number} of {each.samples:,}{without and f' ({without})'}")
    return ", ".join(parts)
