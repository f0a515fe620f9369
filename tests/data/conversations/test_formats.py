"""Conversations in LLaVA's and FineVision's form, and what is wrong with some."""

import json
from typing import Any

import pytest

from corekit.data.conversations.fields import Conversation
from corekit.data.conversations.formats import read_messages
from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import BadSampleError


def llava(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"id": "7", "image": "a.jpg",
            "conversations": [{"from": role, "value": value} for role, value in turns]}


def test_llavas_and_finevisions_turns_are_read() -> None:
    expected = [Message("system", "Be brief."), Message("user", "<image>\nWhat?"),
                Message("assistant", "A cat."), Message("user", "Why?"), Message("assistant", "é")]
    assert read_messages(llava(("system", "Be brief."), ("human", "<image>\nWhat?"),
                               ("gpt", "A cat."), ("user", "Why?"), ("assistant", "é"))) == expected
    turns = [{"system": "Be brief.", "user": "<image>\nWhat?", "assistant": "A cat."},
             {"user": "Why?", "assistant": "é", "source": "x", "relevance": 5}]
    assert read_messages({"images": [], "texts": turns, "formatting_ratings": [4]}) == expected
    assert read_messages(turns) == expected


@pytest.mark.parametrize(("text", "moved"), [
    ("What is it?\n<image>", "<image>\nWhat is it?"), ("<image> What?", "<image>\nWhat?"),
    ("<image>\nWhat?", "<image>\nWhat?"), ("In <image> what?", "<image>\nIn  what?"),
    ("<image>", "<image>"), ("no", "no"), ("A <image> or <image>?", "A <image> or <image>?"),
])
def test_a_place_that_is_alone_is_moved_before_its_question(text: str, moved: str) -> None:
    assert read_messages(llava(("human", text), ("gpt", "a <image>")))[0].content == moved
    assert read_messages(llava(("human", text), ("gpt", "a <image>")))[1].content == "a <image>"


def test_an_answer_before_the_first_question_is_left_out() -> None:
    turns = ("gpt", "early"), ("human", "q"), ("gpt", "a")
    assert read_messages(llava(*turns)) == read_messages(llava(*turns[1:]))
    system = ("system", "s")
    assert read_messages(llava(system, *turns)) == read_messages(llava(system, *turns[1:]))


@pytest.mark.parametrize(("content", "kind"), [
    (b"{", "json"), (b"\xff", "json"), (b"[" * 100_000, "json"), (b"3", "conversation"),
    (b"{}", "conversation"), (b'{"conversations": 3}', "conversation"),
    (b'{"conversations": []}', "empty_conversation"), (b'{"texts": []}', "empty_conversation"),
    (b'[{"from": "gpt", "value": "a"}]', "empty_conversation"),
    (b'[{"from": "system", "value": "a"}]', "empty_conversation"),
    (b'[{"from": "bing", "value": "a"}]', "roles"), (b'[{"value": "a"}]', "roles"),
    (b'[{"from": "human", "value": 3}]', "conversation"), (b'[{"text": "a"}]', "conversation"),
    (b'[{"from": "human"}]', "conversation"), (b'["a"]', "conversation"),
    (b'[{"from": "human", "value": "\\ud800"}]', "encoding"), (b"9" * 1_000_001, "too_large"),
])
def test_what_is_no_conversation_is_counted_by_kind(content: bytes, kind: str) -> None:
    field = Conversation()
    field.name = "conversation"
    with pytest.raises(BadSampleError) as caught:
        field.decode(content, "0.tar: k")
    assert caught.value.kind == kind
    assert caught.value.message.startswith("0.tar: k: ")


def test_a_member_of_a_shard_comes_back_as_it_was() -> None:
    field, messages = Conversation(), [Message("system", 'a "\\'), Message("user", "<image>\né\n"),
                                       Message("assistant", "😀 {}")]
    content = field.encode(messages, "json")
    assert json.loads(content)["conversations"][1]["from"] == "human"
    assert field.decode(content, "") == [messages[0], Message("user", "<image>\né"), messages[2]]
