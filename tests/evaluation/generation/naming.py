"""A model that names the colour of the last picture it is shown, and a chat tokenizer for it."""

import contextlib
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from corekit.data.conversations.messages import PICTURE_TOKEN
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.base import EvalModel
from tests.language_models import write_tokenizer

COLOURS = ("red", "green", "blue")


class Naming(nn.Module):
    """Answers ``red``, ``green`` or ``blue``, or ``grey`` where it sees nothing.

    ``prompts`` has the texts of each batch that was asked; after ``most`` batches it is killed.
    """

    def __init__(self, tokenizer: ChatTokenizer, most: int = 1000) -> None:
        super().__init__()
        self.tokenizer, self.most = tokenizer, most
        self.prompts: list[list[str]] = []

    def generate(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                 conversation_offsets: Tensor, max_new_tokens: int,
                 end_tokens: Collection[int]) -> list[list[int]]:
        if len(self.prompts) == self.most:
            raise KeyboardInterrupt
        words, texts = self.tokenizer.vocabulary, list[str]()
        answers: list[list[int]] = []
        for tiles, ids in zip(pairwise(picture_offsets.tolist()),
                              pairwise(conversation_offsets.tolist())):
            prompt = conversation[slice(*ids)]
            shown = pictures[slice(*tiles)]
            assert int((prompt == PICTURE_TOKEN).sum()) == 2 * len(shown)
            texts.append(str(words.decode(prompt[prompt != PICTURE_TOKEN].tolist())))
            levels = shown[-1].mean((1, 2)) if len(shown) else torch.zeros(3)
            answer = COLOURS[int(levels.argmax())] if levels.any() else "grey"
            token = words(answer)["input_ids"]
            answers.append([*token, *end_tokens][:max_new_tokens])
        self.prompts.append(texts)
        return answers


def chat_tokenizer(folder: Path) -> ChatTokenizer:
    """A small one, with two tokens a picture."""
    return ChatTokenizer(str(write_tokenizer(folder)), context_length=300, picture_tokens=2)


def naming_model(model: nn.Module, tokenizer: ChatTokenizer | None, workers: int = 0,
                 store: Path | None = None) -> EvalModel:
    """The model ready to be evaluated, on pictures of 4 x 4 pixels."""
    return EvalModel(model, Preprocess(4, "bilinear", (0, 0, 0), (1, 1, 1)),
                     tokenizer, torch.device("cpu"), contextlib.nullcontext, workers=workers,
                     store=store, fingerprint="weights")
