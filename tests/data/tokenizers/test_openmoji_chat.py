"""The words of questions about drawn scenes: all known, and decoded as they were."""

from pathlib import Path

import pytest
import torch

from corekit.data.conversations.messages import PICTURE_TOKEN, Message
from corekit.data.datasets.openmoji.concepts import concept_emoji, concept_names
from corekit.data.datasets.openmoji.questions import OpenMojiQuestions
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.tokenizers.openmoji_chat import SPECIAL, UNKNOWN, OpenMojiChat

pytest.importorskip("transformers")


@pytest.mark.parametrize("templates", ["train", "held_out"])
def test_no_word_is_unknown_and_answers_come_back(templates: str) -> None:
    most = len(concept_emoji())
    dataset = OpenMojiQuestions(150, concepts=most, templates=templates)  # type: ignore[arg-type]
    tokenizer = OpenMojiChat(most, picture_tokens=3)
    unknown = tokenizer.vocabulary.get_vocab()[UNKNOWN]
    for handle in range(150):
        messages = dataset.decode(handle)["conversation"]
        encoded = tokenizer.encode(messages, [1])
        assert unknown not in encoded.ids
        assert int((encoded.ids == PICTURE_TOKEN).sum()) == 3
        answers, learned = [], encoded.ids[encoded.target_mask].tolist()
        while learned:
            length = learned.index(min(tokenizer.end_tokens)) + 1
            answers.append(tokenizer.answer(learned[:length]))
            learned = learned[length:]
        assert answers == [message.content for message in messages[1::2]]
    for name in concept_names():
        assert tokenizer.answer(tokenizer.vocabulary(name)["input_ids"]) == name


def test_ids_are_the_same_everywhere_and_of_a_folder_too(tmp_path: Path) -> None:
    tokenizer = OpenMojiChat()
    words = sorted(tokenizer.vocabulary.get_vocab().items(), key=lambda item: item[1])
    assert [word for word, _ in words] == [
        *SPECIAL, *sorted(word for word, _ in words[len(SPECIAL):-1]), "<image>"]
    assert tokenizer.vocab_size == len(words) - 1
    tokenizer.save(tmp_path)
    saved = ChatTokenizer(str(tmp_path), 256, 25)
    messages = [Message("system", "name colours."), Message("user", "what is blue?"),
                Message("assistant", "the background"), Message("user", "zebra or duck?")]
    for ours, theirs in zip((tokenizer.encode(messages, []).ids, tokenizer.prompt(messages, [])),
                            (saved.encode(messages, []).ids, saved.prompt(messages, [])),
                            strict=True):
        assert torch.equal(ours, theirs)
    assert (saved.vocab_size, saved.end_tokens) == (tokenizer.vocab_size, tokenizer.end_tokens)
