"""Questions answered by a model: figures, files, ranks, resuming, examples, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from corekit import registry
from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.questions.dataset import QuestionPictures
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.generation.captioning import Captioning
from corekit.evaluation.generation.prompts import Prompted
from corekit.evaluation.generation.question_answering import SHORT, QuestionAnswering
from corekit.evaluation.generation.replies import Reply
from corekit.evaluation.generation.submission import SUBMISSIONS
from corekit.evaluation.metrics.generation.figures import caption_estimates
from tests.data.datasets.questions.benchmarks import (
    picture,
    write_captions,
    write_mme,
    write_vqa,
)
from tests.evaluation.generation.naming import COLOURS, Naming, chat_tokenizer, naming_model
from tests.evaluation.known import on_ranks
from tests.language_models import small_llama

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return chat_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> QuestionPictures:
    """Eleven questions, the seventh of a picture that is none."""
    root, rows = tmp_path_factory.mktemp("own"), []
    for number in range(11):
        colour = COLOURS[number % 3]
        picture(root / f"{number}.png", colour)
        rows.append({"picture": f"{number}.png", "question": f"What is {number}?",
                     "answer": colour if number % 2 else "black", "id": 100 + number,
                     "category": f"kind {number % 2}"})
    (root / "6.png").write_bytes(b"none")
    (root / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return QuestionPictures(str(root), "questions", form="questions")


def answers_of(result: Result) -> list[str]:
    """The answers, in the order of the questions."""
    lines = bytes(result.files["answers.jsonl"]).decode().splitlines()
    return [json.loads(line)["answer"] for line in lines]


def test_vqa(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    """Accuracy with its standard error, by kind of answer; beside it the figure of a blank one."""
    write_vqa(tmp_path)
    dataset = QuestionPictures(str(tmp_path), "val2014", form="vqav2")
    model = Naming(tokenizer)
    evaluator = QuestionAnswering(dataset, "vqa", blind=True, submission="vqa")
    result = evaluator(naming_model(model, tokenizer))
    assert result.metrics == {"vqa_accuracy": 1, "blind_vqa_accuracy": 0}
    assert json.loads(bytes(result.files["submission.json"])) == [
        {"question_id": 10, "answer": "red"}, {"question_id": 20, "answer": "green"}]
    assert result.details["by_category"] == {"other": 1}
    assert result.details["standard_errors"] == {"vqa_accuracy": 0, "blind_vqa_accuracy": 0}
    assert f"What colour is it?\n{SHORT}<|im_end|>" in model.prompts[0][0]
    assert result.pictures["replies"].shape[2] == 3
    assert (result.samples, result.unreadable) == (2, 0)


def test_figures_of_some_and_lost_questions(own: QuestionPictures,
                                            tokenizer: ChatTokenizer) -> None:
    """The damaged one is counted as lost, and figures are of the others."""
    result = QuestionAnswering(own)(naming_model(Naming(tokenizer), tokenizer))
    assert result.metrics == {"exact_match": 0.5}
    assert result.details["by_category"] == {"kind 0": 0, "kind 1": 1}
    assert (result.samples, result.unreadable) == (10, 1)


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (3, 2)])
def test_ranks_share_batches(own: QuestionPictures, tokenizer: ChatTokenizer, world: int,
                             workers: int) -> None:
    """Bytes of files are the same, since batches are."""
    evaluator = QuestionAnswering(own, batch_size=2)
    one, many = Naming(tokenizer), Naming(tokenizer)
    alone = evaluator(naming_model(one, tokenizer))
    for result in on_ranks(evaluator, naming_model(many, tokenizer, workers), world):
        assert result.files == alone.files
        assert (result.metrics, result.details, result.unreadable) == (
            alone.metrics, alone.details, alone.unreadable)
    asked = [batch for batch in many.prompts if "What is" in batch[0]]
    assert sorted(asked) == sorted(one.prompts)


def test_goes_on_where_it_was_killed(own: QuestionPictures, tokenizer: ChatTokenizer,
                                     tmp_path: Path) -> None:
    """Batches that are kept are not asked again, on another number of ranks either."""
    evaluator = QuestionAnswering(own, batch_size=2)
    undisturbed = evaluator(naming_model(Naming(tokenizer), tokenizer))

    def keeping(model: Naming) -> EvalModel:
        return naming_model(model, tokenizer, store=tmp_path)

    killed = Naming(tokenizer, most=2)
    with pytest.raises(KeyboardInterrupt):
        evaluator(keeping(killed))
    file = next(tmp_path.rglob("rank_0.jsonl"))
    file.write_bytes(file.read_bytes() + b'\n[2, 0, {"4": "[')  # killed while it wrote
    second = Naming(tokenizer)
    for result in on_ranks(evaluator, keeping(second), 2):
        assert result.files == undisturbed.files
    assert len([batch for batch in second.prompts if "What is" in batch[0]]) == 4
    third = Naming(tokenizer)
    assert evaluator(keeping(third)).files == undisturbed.files
    assert not third.prompts
    assert evaluator(keeping(third)).unreadable == 1
    QuestionAnswering(own, batch_size=2, prompt="Say it.")(keeping(third))
    assert len(third.prompts) == 6


def test_ranks_without_a_common_disk(own: QuestionPictures, tokenizer: ChatTokenizer,
                                     tmp_path: Path) -> None:
    """What not every rank finds is answered again."""
    evaluator = QuestionAnswering(own, batch_size=2)
    model = Naming(tokenizer)

    def apart(ready: EvalModel) -> Result:
        return evaluator(replace(ready, store=tmp_path / str(ready.rank)))

    first = on_ranks(apart, naming_model(model, tokenizer), 2)[0]
    second = on_ranks(apart, naming_model(model, tokenizer), 2)[0]
    assert first.files == second.files
    assert len([batch for batch in model.prompts if "What is" in batch[0]]) == 12


def test_examples_are_turns_with_pictures(own: QuestionPictures, tokenizer: ChatTokenizer) -> None:
    """They depend on the seed and the question alone, and are none that cannot be read."""
    def prompts(seed: int, batch_size: int = 4) -> list[str]:
        model = Naming(tokenizer)
        result = QuestionAnswering(own, batch_size=batch_size, shots=2, shots_dataset=own,
                                   prompt="", seed=seed)(naming_model(model, tokenizer))
        assert answers_of(result) == [COLOURS[number % 3] for number in range(11) if number != 6]
        return [prompt for batch in model.prompts for prompt in batch]

    first = prompts(0)
    assert first == prompts(0, 3)
    assert first != prompts(1)
    turns = first[0].split("<|im_start|>user")[1:]
    assert len(turns) == 3
    for turn in turns[:2]:
        number = int(turn.partition("What is ")[2].partition("?")[0])
        answer = COLOURS[number % 3] if number % 2 else "black"
        assert f"assistant\n{answer}<|im_end|>" in turn
    assert "What is 0?" in turns[2]
    assert not any("What is 6?" in prompt for prompt in first)
    assert len({prompt.rpartition("<|im_start|>user")[0] for prompt in first}) > 5


def test_examples_have_answers(tmp_path: Path) -> None:
    """A question without one is no example; where too few are left, the question is lost."""
    rows = [{"question": f"{number}?", **({"answers": ["a", "b", "b"]} if number < 2 else {})}
            for number in range(4)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = QuestionPictures(str(tmp_path), "questions", form="questions")
    prompted = Prompted(source, "", source, shots=2)
    messages = prompted.decode(prompted.read(0, 3, 1)[0])["messages"]
    assert [each.content for each in messages[1::2]] == ["b", "b"]
    assert {each.content for each in messages[::2]} == {"0?", "1?", "3?"}
    prompted = Prompted(source, "", source, shots=3)
    with pytest.raises(BadSampleError, match="of 4 that were drawn 2 can be read and have an"):
        prompted.decode(prompted.read(0, 3, 1)[0])


def test_captions(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    """The figures of the captions, and COCO's form of them."""
    write_captions(tmp_path)
    dataset = registry.build("dataset", "coco_captions", {"root": str(tmp_path)})
    result = Captioning(dataset)(naming_model(Naming(tokenizer), tokenizer))
    references = [["a red picture", "all red"], ["a blue picture", "all blue"]]
    figures = caption_estimates(["red", "blue"], references)
    assert result.metrics == {name: each.value for name, each in figures.items()}
    assert json.loads(bytes(result.files["submission.json"])) == [
        {"image_id": 1, "caption": "red"}, {"image_id": 2, "caption": "blue"}]


def test_mme(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    """A score for each task, and its lines in a file of its own."""
    write_mme(tmp_path)
    dataset = registry.build("dataset", "mme", {"root": str(tmp_path)})
    result = QuestionAnswering(dataset, "mme", submission="mme")(
        naming_model(Naming(tokenizer), tokenizer))
    assert result.metrics == {"mme_perception": 0}
    assert result.details["by_category"] == {"count": 0, "posters": 0}
    assert bytes(result.files["count.txt"]).decode() == (
        "000.jpg\tIs there one?\tYes\tred\n000.jpg\tAre there two?\tNo\tred\n")
    outside = SUBMISSIONS["mme"]([Reply("k", "?", "1", "../../count", ["Yes"], "a\tb\nc")])
    assert outside == {"______count.txt": b"1\t?\tYes\ta b c\n"}


def test_secret_answers_have_no_figures(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    """Of a split for tests there are the files alone."""
    picture(tmp_path / "test_images/a.jpg")
    (tmp_path / "TextVQA_0.5.1_test.json").write_text(json.dumps({"data": [
        {"image_id": "a", "question": "what?", "question_id": 5}]}))
    dataset = QuestionPictures(str(tmp_path), "test", form="textvqa")
    result = QuestionAnswering(dataset, "vqa_normalized", submission="vqa")(
        naming_model(Naming(tokenizer), tokenizer))
    assert result.metrics == {}
    assert json.loads(bytes(result.files["submission.json"])) == [
        {"question_id": 5, "answer": "red"}]


def test_questions_without_room_are_counted(own: QuestionPictures, tokenizer: ChatTokenizer,
                                            caplog: pytest.LogCaptureFixture) -> None:
    """Their number, and what is wrong with the first of them."""
    length = len(tokenizer.prompt([Message("user", "<image>\nWhat is 0?\nSay.")], [1]))
    short = ChatTokenizer(tokenizer.path, length + 1, picture_tokens=2)
    model = naming_model(Naming(short), short)
    result = QuestionAnswering(own, prompt="Say.")(model)
    assert result.unreadable == 2  # the one with two digits, and the damaged one
    assert "leaves no room for an answer" in caplog.text
    with pytest.raises(CorekitError, match="no question that can be asked"):
        QuestionAnswering(own, prompt="Say it.")(model)


def test_what_does_not_fit_is_refused(own: QuestionPictures, tokenizer: ChatTokenizer) -> None:
    """One sentence each."""
    with pytest.raises(CorekitError, match="shots=2 needs a shots_dataset"):
        QuestionAnswering(own, shots=2)
    with pytest.raises(CorekitError, match="shots=12 needs a shots_dataset with as many"):
        QuestionAnswering(own, shots=12, shots_dataset=own)
    with pytest.raises(CorekitError, match="max_new_tokens of 1 or more"):
        QuestionAnswering(own, max_new_tokens=0)
    with pytest.raises(CorekitError, match="dataset has no `pictures`: it is to be one of"):
        QuestionAnswering(registry.build("dataset", "coco_labels", {"root": None}))
    evaluator = QuestionAnswering(own)
    with pytest.raises(CorekitError, match="needs a model with a method `generate`"):
        evaluator(naming_model(nn.Identity(), tokenizer))
    with pytest.raises(CorekitError, match="set data.tokenizer.name=chat"):
        evaluator(naming_model(Naming(tokenizer), None))
    with pytest.raises(CorekitError, match="holds no samples"):
        QuestionAnswering(QuestionPictures(None, "val", form="gqa"))(
            naming_model(Naming(tokenizer), tokenizer))


def test_padding_changes_no_answer(own: QuestionPictures, tokenizer: ChatTokenizer) -> None:
    """A model's words are the same, however many questions of other lengths stand beside one."""
    torch.manual_seed(0)
    model = registry.build("model", "multimodal", {
        "encoder_model": {"name": "aimv2_nano"},
        "language_model": small_llama(initializer_range=0.2)})
    chat = ChatTokenizer(tokenizer.path, 400, picture_tokens=25)
    preprocess = Preprocess(70, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    ready = replace(naming_model(model.eval(), chat), preprocess=preprocess)
    rows = [answers_of(QuestionAnswering(own, batch_size=size, max_new_tokens=6)(ready))
            for size in (1, 11)]
    assert rows[0] == rows[1]
    assert len({*rows[0]}) > 2
