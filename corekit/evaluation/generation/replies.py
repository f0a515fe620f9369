"""What a model replies to every question of a data set, on any number of ranks."""

import json
import logging
import time
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corekit.data.conversations.messages import Message
from corekit.data.datasets.subset import Subset
from corekit.data.loading.eval_loader import Chunk, chunks
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.gathering import gathered
from corekit.evaluation.generation.kept_replies import KeptChunk, KeptReplies
from corekit.evaluation.generation.prompts import Prompted
from corekit.evaluation.whole_pictures import model_method

EVERY = 30.0  # seconds between two lines of progress
NOTHING = [Message("user", "?")]  # asked where a rank has no question left
log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """A question and what the model replied."""

    key: str
    question: str
    question_id: str | int
    category: str
    right: list[str]  # right answers, or captions; none where they are secret
    answer: str


Replies = dict[int, Reply]  # by the number of the question


class Generator:
    """A model that answers batches of questions, greedily.

    Args:
        eval_model: with a method ``generate`` and a chat tokenizer.
        evaluator: its name, for messages.
        max_new_tokens: after which an answer is cut.
        blind: the model is shown the mean colour in the place of pictures.

    Raises:
        CorekitError: the model has no such method, or its recipe no chat tokenizer.
    """

    def __init__(self, eval_model: EvalModel, evaluator: str, max_new_tokens: int,
                 blind: bool) -> None:
        self.generate = cast(Callable[..., list[list[int]]],
                             model_method(eval_model, evaluator, "generate"))
        if not isinstance(eval_model.tokenize, ChatTokenizer):
            raise CorekitError(f"evaluator '{evaluator}' needs a tokenizer with a chat template: "
                               "set data.tokenizer.name=chat")
        self.tokenizer, self.eval_model = eval_model.tokenize, eval_model
        self.end_tokens = self.tokenizer.end_tokens
        self.max_new_tokens, self.blind = max_new_tokens, blind
        self.has_warned = False

    def __call__(self, chunk: Chunk) -> dict[int, str]:
        """The answers to a chunk's questions, by their places; none to those that do not fit."""
        prompts: dict[int, Tensor] = {}
        for place, messages in enumerate(chunk["messages"]):
            try:
                tiles = [len(each) for each in chunk["pictures"][place]]
                prompts[place] = self.tokenizer.prompt(messages, tiles)
            except CorekitError as error:
                if not self.has_warned:
                    log.warning("%s: %s; other questions that cannot be asked are counted",
                                chunk["key"][place], error)
                self.has_warned = True
        pictures = [chunk["pictures"][place] for place in prompts]
        # all ranks run the model equally often, as sharded models need it
        ids = self._ids([*prompts.values()], pictures) if prompts else self._ids(
            [self.tokenizer.prompt(NOTHING, [])], [[]])
        return {place: self.tokenizer.answer(each) for place, each in zip(prompts, ids)}

    def _ids(self, prompts: list[Tensor], pictures: list[list[Tensor]]) -> list[list[int]]:
        model = self.eval_model
        tiles = [torch.cat(each) if each else torch.empty(0, dtype=torch.uint8)
                 for each in pictures]
        shown = torch.cat([each for each in tiles if len(each)]
                          or [torch.empty(0, 3, 1, 1, dtype=torch.uint8)])
        values = model.preprocess.normalize(shown.to(model.device))
        if self.blind:
            values = torch.zeros_like(values)
        with model.autocast():
            return self.generate(values, self._offsets(tiles),
                                 torch.cat(prompts).to(model.device), self._offsets(prompts),
                                 self.max_new_tokens, self.end_tokens)

    def _offsets(self, parts: list[Tensor]) -> Tensor:
        counts = accumulate((len(each) for each in parts), initial=0)
        return torch.tensor([*counts], device=self.eval_model.device)


@torch.no_grad()
def all_replies(generator: Generator, source: Prompted, batch_size: int,
                kept: KeptReplies | None) -> tuple[Replies, int]:
    """The replies to all questions that can be asked, the same on every rank.

    A batch is a chunk of the data set, whatever the number of ranks, so that answers are the same
    to the bit. Chunks that are kept from before are not answered again.

    Returns:
        the replies, and how many samples the data set leaves out of its own accord.
    """
    model, total = generator.eval_model, int(source.shard_sizes.sum())
    own, is_kept, left_out = _from_before(model, kept, total, batch_size)
    rest, last, answered = np.flatnonzero(~is_kept), time.monotonic(), int(is_kept.sum())
    for chunk in chunks(Subset(source, ~is_kept), model.preprocess, batch_size, model.rank,
                        model.world, model.workers):
        answers = generator(chunk)
        places = [int(rest[position]) for position in chunk["position"]]
        lines = {places[place]: json.dumps(_reply(chunk, place, answer))
                 for place, answer in answers.items()}
        own |= {place: line.encode() for place, line in lines.items()}
        left_out += chunk["left_out"]
        if kept is not None and places:
            kept.add(places[0] // batch_size, KeptChunk(lines, chunk["left_out"]))
        answered += batch_size * model.world
        model.progress(batch_size * model.world)
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            log.info("%s of %s questions answered", f"{answered:,}", f"{total:,}")
    count = torch.tensor([left_out], device=model.device)
    texts = gathered(model, total, own, on_all_ranks=True)
    return ({place: Reply(*json.loads(text)) for place, text in enumerate(texts) if text},
            int(model.sum(count)))


def _from_before(model: EvalModel, kept: KeptReplies | None, total: int,
                 batch_size: int) -> tuple[dict[int, bytes], NDArray[np.bool_], int]:
    """This rank's share of what is kept, which samples are, and how many it says are left out."""
    own, is_kept, left_out = dict[int, bytes](), np.zeros(total, dtype=np.bool_), 0
    for number, chunk in (kept.load() if kept is not None else {}).items():
        is_kept[number * batch_size:(number + 1) * batch_size] = True
        if number % model.world == model.rank:
            own |= {place: text.encode() for place, text in chunk.replies.items()}
            left_out += chunk.left_out
    return own, is_kept, left_out


def _reply(chunk: Chunk, place: int, answer: str) -> Reply:
    return Reply(chunk["key"][place], chunk["question"][place], chunk["question_id"][place],
                 chunk["category"][place], chunk["answers"][place], answer)
