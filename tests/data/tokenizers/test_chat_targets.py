"""What is learned of any conversation is its answers and their ends; generation sees the same."""

import random
from pathlib import Path

import pytest
import torch

from corekit.data.conversations.messages import PICTURE, PICTURE_TOKEN, Message
from corekit.data.datasets.base import BadSampleError
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.errors import CorekitError
from tests.data.tokenizers.chat_folders import CHATML, FAMILIES, write_tokenizer

pytest.importorskip("transformers", minversion="5")

PIECES = ["the", " a", "é", "漢字", "😀", "e\u0301", "\n", "\t", "  ", "USER:", "ASSISTANT: ",
          "{{ x }}", "{% if %}", "<|im_", "<s", "0", ".", "\u200b", "assistant\n", "\u2028", "</",
          "'s"]
COUNT = 1000


def conversation(number: int) -> tuple[list[Message], list[int]]:
    """Messages, and the tiles of each picture."""
    draw = random.Random(number)

    def text() -> str:
        return "".join(draw.choices(PIECES, k=draw.randint(1, 6)))

    messages = [Message("system", text())] if draw.random() < 0.3 else []
    tiles: list[int] = []
    is_placed = draw.random() < 0.5
    for _ in range(draw.randint(1, 3)):
        own = [draw.randint(1, 3) for _ in range(draw.choice((0, 0, 1, 2)))]
        tiles += own
        pieces = [*([PICTURE] * len(own) if is_placed else []), text()]
        draw.shuffle(pieces)
        messages += [Message("user", "".join(pieces)), Message("assistant", text())]
    return messages, tiles


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
              ) -> ChatTokenizer:
    folder = write_tokenizer(tmp_path_factory.mktemp(request.param), request.param)
    return ChatTokenizer(str(folder), context_length=4096, picture_tokens=3)


def runs(mask: list[bool]) -> list[tuple[int, int]]:
    """First and last + 1 of every stretch that is learned."""
    edges = [place for place in range(len(mask) + 1)
             if (place > 0 and mask[place - 1]) != (place < len(mask) and mask[place])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def check(tokenizer: ChatTokenizer, messages: list[Message], tiles: list[int],
          number: int) -> None:
    encoded = tokenizer.encode(messages, tiles)
    ids = encoded.ids.tolist()
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    stretches = runs(encoded.target_mask.tolist())
    assert len(stretches) == len(answers)
    for (first, last), place in zip(stretches, answers, strict=True):
        learned = ids[first:last]
        assert learned[-1] in tokenizer.end_tokens
        assert not {*learned[:-1]} & {*tokenizer.end_tokens, PICTURE_TOKEN}
        text = tokenizer.vocabulary.decode(learned[:-1])
        assert text.strip() == messages[place].content.strip()
        assert tokenizer.answer([*learned, *learned]) == messages[place].content.strip()
    turn = number % len(answers)  # generation at one of the answers
    before = messages[:answers[turn]]
    if any(PICTURE in message.content for message in messages):
        tiles_before = tiles[:sum(message.content.count(PICTURE) for message in before)]
    else:
        tiles_before = tiles
    assert tokenizer.prompt(before, tiles_before).tolist() == ids[:stretches[turn][0]]
    assert ids.count(PICTURE_TOKEN) == 3 * sum(tiles)
    whole = tokenizer.vocabulary.decode([token for token in ids if token != PICTURE_TOKEN])
    assert all(message.content.replace(PICTURE, "").strip() in whole for message in messages
               if message.content.count(PICTURE) < 2)


def test_a_thousand_random_conversations(tokenizer: ChatTokenizer) -> None:
    learned = 0
    for number in range(COUNT):
        messages, tiles = conversation(number)
        if all(message.content.strip() or message.role == "system" for message in messages):
            check(tokenizer, messages, tiles, number)
            learned += 1
        else:
            with pytest.raises(BadSampleError, match="empty_message"):
                tokenizer.encode(messages, tiles)
    assert learned > 0.8 * COUNT


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_marks_in_messages_are_bad(tokenizer: ChatTokenizer, role: str) -> None:
    for mark in tokenizer.special_tokens[:3]:
        messages = [Message("system", "s"), Message("user", "q"), Message("assistant", "a")]
        place = [message.role for message in messages].index(role)
        messages[place] = messages[place]._replace(content=f"one {mark} two")
        if (role, mark) == ("user", PICTURE):
            continue
        with pytest.raises(BadSampleError, match="special_token"):
            tokenizer.encode(messages, [])


def test_a_cut_conversation_keeps_whole_pictures_and_first_turns(tokenizer: ChatTokenizer) -> None:
    messages = [Message("user", f"{PICTURE}\nWhat?"), Message("assistant", "a cat"),
                Message("user", f"{PICTURE}\nAnd?"), Message("assistant", "a dog")]
    whole = tokenizer.encode(messages, [2, 1])
    (_, end), (begin, _) = runs(whole.target_mask.tolist())
    for length in range(7, len(whole.ids) + 1):
        short = ChatTokenizer(tokenizer.path, length, 3)
        kept = length if length > begin else end if length >= end else length
        if length <= runs(whole.target_mask.tolist())[0][0]:
            with pytest.raises(BadSampleError, match="too_long"):
                short.encode(messages, [2, 1])
            continue
        cut = short.encode(messages, [2, 1])
        assert torch.equal(cut.ids, whole.ids[:kept])
        assert torch.equal(cut.target_mask, whole.target_mask[:kept])
        assert int((cut.ids == PICTURE_TOKEN).sum()) in (6, 9)


def test_a_template_that_rewrites_earlier_turns_is_refused(tmp_path: Path) -> None:
    marked = CHATML.replace("{{ message.content }}", "{% if message.role == 'assistant' and "
                            "not loop.last %}old {% endif %}{{ message.content }}")
    folder = write_tokenizer(tmp_path, "chatml")
    (folder / "chat_template.jinja").write_text(marked)
    tokenizer = ChatTokenizer(str(folder), 4096, 3)
    question, answer = Message("user", "q"), Message("assistant", "a")
    assert len(tokenizer.encode([question, answer], []).ids) > 1
    for turns in ([question, answer, question, answer], [question, answer, question]):
        with pytest.raises(CorekitError, match="chat template in .* does not write an answer as|ot"
                                               "herwise when"):
            tokenizer.encode(turns, [])
        with pytest.raises(CorekitError, match="chat template in "):
            tokenizer.prompt(turns[:3], [])


def test_a_conversation_without_an_answer_is_bad(tokenizer: ChatTokenizer) -> None:
    for messages in ([Message("user", "q")], [Message("system", "s"), Message("user", "q")]):
        with pytest.raises(BadSampleError, match="empty_conversation"):
            tokenizer.encode(messages, [])
