"""Questions about pictures, each in a conversation of its own, and captions where none is asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from corekit import CorekitError
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.evaluation.prediction.predict import predict
from tests.evaluation.prediction.test_predict import Classifier, Stub, content, picture, run_of
from tests.language_models import write_tokenizer

pytest.importorskip("transformers")


class Speaker(Stub):
    """Says the last words that it was asked, as often as the picture's red is above a half."""

    most_positions = None

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        return pictures.new_zeros(len(pictures), 2, 3)

    def generate(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                 conversation_offsets: Tensor, max_new_tokens: int,
                 end_tokens: frozenset[int]) -> list[list[int]]:
        prompts = conversation.split(conversation_offsets.diff().tolist())
        times = (pictures[picture_offsets[:-1], 0].mean((1, 2)) > 0.5).long() + 1
        assert all((prompt == -1).sum() == 2 for prompt in prompts)
        ends = [(prompt == min(end_tokens)).nonzero()[-1].item() for prompt in prompts]
        return [[*prompt[end - 3:end].repeat(int(count)).tolist(), min(end_tokens), 7]
                for prompt, end, count in zip(prompts, ends, times)]


def test_every_question_about_every_picture_is_answered(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = str(write_tokenizer(tmp_path / "words"))
    run = run_of(Speaker, tmp_path, monkeypatch, tokenizer={
        "name": "chat", "path": vocabulary, "picture_tokens": 2})
    files = [picture(tmp_path), picture(tmp_path, "dark.png", colour=(20, 0, 0))]
    Image.new("RGB", (64, 48), (200, 0, 0)).save(files[0])
    questions = ["which object?", "how many apples?"]
    assert predict(run, files, tmp_path / "out", questions=questions) == 2
    tokenizer = ChatTokenizer(vocabulary)
    for name, times in (("red", 2), ("dark", 1)):
        answers = content(tmp_path / "out", name)["answers"]
        assert [each["question"] for each in answers] == questions
        for question, each in zip(questions, answers):
            last = tokenizer.vocabulary(question).input_ids[-3:] * times
            assert each["answer"] == tokenizer.answer(last)
    drawn = np.asarray(Image.open(tmp_path / "out/red.jpg")).astype(int)
    assert abs(drawn[:40] - [200, 0, 0]).max() > 50
    assert abs(drawn[60:] - [200, 0, 0]).max() < 6
    predict(run, files[:1], tmp_path / "captions")
    (caption,) = content(tmp_path / "captions")["answers"]
    assert caption["question"] == "Provide a one-sentence caption for the provided image."


def test_a_model_that_answers_nothing_is_a_sentence(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(Classifier, tmp_path, monkeypatch)
    with pytest.raises(CorekitError, match="model 'stub' reads no conversations .*leave --ask out"):
        predict(run, [picture(tmp_path)], tmp_path / "out", questions=["what?"])
    assert not (tmp_path / "out").exists()
