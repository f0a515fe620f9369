"""The ``chat`` tokenizer: conversations as a language model's own template writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from corekit.data.conversations.messages import PICTURE, PICTURE_TOKEN, Message, in_order
from corekit.data.datasets.base import BadSampleError
from corekit.errors import CorekitError
from corekit.registry import register

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TEMPLATE_FILES = "tokenizer.json, tokenizer_config.json and chat_template.jinja"


@dataclass(frozen=True)
class Encoded:
    """A conversation in token ids, -1 at the places of pictures."""

    ids: "Tensor"  # int64 [L]
    target_mask: "Tensor"  # bool [L], what is learned: answers and the token that ends each


@dataclass
class _Row:
    ids: list[int] = field(default_factory=list)
    is_target: list[bool] = field(default_factory=list)

    def add(self, ids: Sequence[int], is_target: bool) -> None:
        self.ids += ids
        self.is_target += [is_target] * len(ids)


@register("tokenizer", "chat")
class ChatTokenizer:
    """The vocabulary and chat template in a language model's folder, as transformers has them.

    A conversation is encoded a piece at a time: all up to the place where an answer begins, then
    the answer with the token that ends it. So what is learned is known exactly, and generation is
    given the very tokens that training saw. A conversation that is too long loses its last turns:
    one whose question has no room is left out, one whose answer has no room is cut in the answer. A
    picture is never cut.

    Args:
        path: the folder, with tokenizer.json and a chat template. None: no ids, as a dry run needs
            it.
        context_length: most tokens of a conversation, its pictures among them.
        picture_tokens: places of a picture, or of each of its tiles: the model's tokens of it.
        template_arguments: what the template is given beside the messages, such as
            {enable_thinking: false} or {date_string: 26 Jul 2024}.

    Raises:
        CorekitError: when first used: no transformers, no such folder, no chat template, or one in
            which an answer is not followed by a special token.
    """

    def __init__(self, path: str | None = None, context_length: int = 2048,
                 picture_tokens: int = 576,
                 template_arguments: dict[str, bool | str] | None = None) -> None:
        if picture_tokens < 1 or context_length < 2:
            raise CorekitError("a chat tokenizer needs a context_length above 1 and picture_tokens "
                               f"above 0, not {context_length} and {picture_tokens}")
        self.path, self.context_length, self.picture_tokens = path, context_length, picture_tokens
        self.template_arguments = dict(template_arguments or {})

    @property
    def vocabulary(self) -> "PreTrainedTokenizerBase":
        """transformers' tokenizer, in which ``<image>`` is one token."""
        if self.path is None:
            raise CorekitError("tokenizer 'chat' needs a language model's folder: type "
                               f"data.tokenizer.path=FOLDER, one with {TEMPLATE_FILES}")
        return _vocabulary(self.path)

    @property
    def vocab_size(self) -> int | None:
        """Number of ids, that of ``<image>`` not counted where it is the last; None: no folder."""
        if self.path is None:
            return None
        size, picture = len(self.vocabulary), self.picture_id
        return size - 1 if picture == size - 1 else size

    @cached_property
    def picture_id(self) -> int:
        """The id of ``<image>`` in transformers' tokenizer."""
        return self.vocabulary.get_vocab()[PICTURE]

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end an answer."""
        example = [Message("user", "a"), Message("assistant", "b")]
        (_, answer), = self._pieces(example)
        return frozenset({self._ids(answer, [])[-1]})

    @cached_property
    def special_tokens(self) -> list[str]:
        """The words of the vocabulary that templates are made of, and that no message may hold."""
        added = self.vocabulary.added_tokens_decoder.values()
        return sorted({*self.vocabulary.all_special_tokens,
                       *(token.content for token in added if token.special)})

    def __call__(self, text: str | Sequence[str]) -> "Tensor":
        """Ids int64 [n, L] of texts as they are, without the template; ends fill up the rows."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        texts = [text] if isinstance(text, str) else text
        rows = [torch.tensor(self._ids(each, [])[:self.context_length], dtype=torch.int64)
                for each in texts]
        return pad_sequence(rows, batch_first=True, padding_value=min(self.end_tokens))

    def encode(self, messages: Sequence[Message], tiles: Sequence[int]) -> Encoded:
        """A conversation with its answers.

        Args:
            messages: a system's message or none, then questions and answers in turn.
            tiles: of each picture, in the order of their places.

        Raises:
            BadSampleError: it cannot be learned from: of another form, or without room for its
                first answer.
        """
        import torch

        turns = self._in_order(messages, len(tiles))
        row, left = _Row(), list(tiles)
        for text, answer in self._pieces(turns):
            question = self._ids(text, left)
            room = self.context_length - len(row.ids) - len(question)
            if room < 1:
                break
            row.add(question, False)
            row.add(self._ids(answer, [])[:room], True)
        if not any(message.role == "assistant" for message in turns):
            raise BadSampleError("empty_conversation", "the conversation has no answer")
        if not row.ids:
            raise BadSampleError("too_long", "the conversation has no room for an answer: its first"
                                 f" question alone has {self.context_length:,} tokens or more")
        return Encoded(torch.tensor(row.ids), torch.tensor(row.is_target))

    def prompt(self, messages: Sequence[Message], tiles: Sequence[int]) -> "Tensor":
        """The ids int64 [L] of a conversation up to where its next answer begins.

        Raises:
            CorekitError: it does not fit, or is of another form.
        """
        import torch

        try:
            turns = self._in_order(messages, len(tiles))
            left = list(tiles)
            ids = [token for text, answer in self._pieces(turns, asks=True)
                   for token in (*self._ids(text, left), *self._ids(answer, []))]
        except BadSampleError as error:
            raise CorekitError(error.message) from None
        if len(ids) >= self.context_length:
            raise CorekitError(f"the question has {len(ids):,} tokens with its pictures, and "
                               f"data.tokenizer.context_length={self.context_length:,} leaves no "
                               "room for an answer")
        return torch.tensor(ids)

    def answer(self, ids: Sequence[int]) -> str:
        """The words of an answer's token ids, up to the first that ends it."""
        ends = self.end_tokens
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self.vocabulary.decode([*ids[:length]], skip_special_tokens=True)
        return str(text).strip()

    def save(self, folder: Path) -> None:
        """Write the files of the tokenizer, ``<image>`` and the chat template among them."""
        self.vocabulary.save_pretrained(folder)

    def _in_order(self, messages: Sequence[Message], pictures: int) -> list[Message]:
        turns = in_order(messages, pictures)
        for turn in turns:
            text = turn.content.replace(PICTURE, "") if turn.role == "user" else turn.content
            special = next((token for token in self.special_tokens if token in text), None)
            if special is not None:
                raise BadSampleError("special_token", f"the {turn.role}'s message holds {special}, "
                                     "which means something else to the language model")
        return turns

    def _pieces(self, turns: Sequence[Message], asks: bool = False) -> Iterator[tuple[str, str]]:
        """The text before each answer, and the answer with the token that ends it.

        With ``asks`` the last text is followed by no answer yet.
        """
        whole, text = self._rendered(turns, False), ""
        for number, message in enumerate(turns):
            if message.role == "assistant":
                prompt = self._rendered(turns[:number], True)
                if not prompt.startswith(text) or not whole.startswith(prompt):
                    raise _other_template(self.path, "writes an earlier turn otherwise when "
                                          "another one follows")
                answer = self._ended(whole[len(prompt):], message.content)
                yield prompt[len(text):], answer
                text = prompt + answer
        if asks:
            prompt = self._rendered(turns, True)
            if not prompt.startswith(text):
                raise _other_template(self.path, "writes an answer otherwise when a question "
                                      "follows")
            yield prompt[len(text):], ""

    def _ended(self, text: str, content: str) -> str:
        """The beginning of a text that is an answer, up to the token that ends it."""
        begin = len(text) - len(text.lstrip()) + len(content)
        ends = [(text.find(token, begin), token) for token in self.special_tokens]
        place, token = min((each for each in ends if each[0] >= 0), default=(-1, ""))
        if not text.lstrip().startswith(content):
            raise _other_template(self.path, "does not write an answer as it is, after the words "
                                  "that begin one")
        if place < 0:
            raise _other_template(self.path, "does not end an answer with a special token, so "
                                  "nothing would tell a model to stop")
        return text[:place + len(token)]

    def _rendered(self, turns: Sequence[Message], begins_answer: bool) -> str:
        messages = [message._asdict() for message in turns]
        return str(self.vocabulary.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=begins_answer,
            **self.template_arguments))  # type: ignore[arg-type]

    def _ids(self, text: str, tiles: list[int]) -> list[int]:
        """Token ids of a piece of text; the pictures in it are taken off the list of tiles."""
        ids: list[int] = self.vocabulary(text, add_special_tokens=False)["input_ids"]
        picture, places = self.picture_id, []
        for token in ids:
            if token == picture and tiles:
                places += [PICTURE_TOKEN] * (self.picture_tokens * tiles.pop(0))
            else:
                places.append(token)
        return places


def _other_template(path: str | None, what: str) -> CorekitError:
    return CorekitError(f"the chat template in {path} {what}: choose another template, or set "
                        "data.tokenizer.template_arguments")


@lru_cache(maxsize=4)
def _vocabulary(path: str) -> "PreTrainedTokenizerBase":
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise CorekitError("tokenizer 'chat' needs the library transformers: "
                           "pip install 'corekit[language]'") from None
    if not Path(path).is_dir():
        raise CorekitError(f"data.tokenizer.path={path} is no folder: name that of a language "
                           f"model, with {TEMPLATE_FILES}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True,
                                                  trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CorekitError(f"data.tokenizer.path={path} holds no tokenizer of transformers: "
                           f"{' '.join(str(error).split())[:200]}") from None
    return prepared(tokenizer, path)


def prepared(tokenizer: "PreTrainedTokenizerBase", path: str) -> "PreTrainedTokenizerBase":
    """transformers' tokenizer with ``<image>`` in it; a CorekitError without a chat template."""
    if not tokenizer.chat_template:
        raise CorekitError(f"the tokenizer in {path} has no chat template: put a "
                           "chat_template.jinja into its folder")
    if PICTURE not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [PICTURE]},
                                     replace_extra_special_tokens=False)
    return tokenizer
