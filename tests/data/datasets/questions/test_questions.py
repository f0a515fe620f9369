"""Benchmarks as they are published become questions about pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corekit import registry
from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.questions.dataset import FORMS, QuestionPictures
from corekit.errors import CorekitError
from tests.data.datasets.questions import benchmarks
from tests.data.datasets.questions.benchmarks import picture, write_json, write_vqa

Row = tuple[str, list[str], str | int, str]  # question, answers, question_id, category


def write_own(root: Path) -> None:
    """One's own questions."""
    picture(root / "a.png")
    picture(root / "b.png", "blue")
    rows = [{"pictures": ["a.png", "b.png"], "question": "Alike?", "answer": "no", "id": "x",
             "category": "pairs"}, {"question": "1 + 1?", "answers": ["2", "two"]}]
    (root / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))


def samples(name: str, root: Path, **arguments: Any) -> list[Sample]:
    """All samples of a data set."""
    dataset = registry.build("dataset", name, {"root": str(root), **arguments})
    return [dataset.decode(handle) for shard, size in enumerate(dataset.shard_sizes)
            for handle in dataset.read(shard, 0, int(size))]


PAIR = "Which is it?\nA. cat\nB. dog"
CASES: dict[str, tuple[Callable[[Path], None], list[Row]]] = {
    "vqav2": (write_vqa, [("What colour is it?", ["red"] * 10, 10, "other"),
                          ("What colour is it?", ["green"] * 10, 20, "other")]),
    "okvqa": (lambda root: write_vqa(root, ""), [
        ("What colour is it?", ["red"] * 10, 10, "other"),
        ("What colour is it?", ["green"] * 10, 20, "other")]),
    "textvqa": (benchmarks.write_textvqa, [("what does it say?", ["stop"] * 9 + ["halt"], 7, "")]),
    "gqa": (benchmarks.write_gqa, [("Is it red?", ["yes"], "201", "verify")]),
    "docvqa": (benchmarks.write_docvqa, [
        ("What is the date?", ["May 1", "1 May"], 49, "layout, form")]),
    "infovqa": (benchmarks.write_docvqa, [("How many?", ["12"], 98, "single span")]),
    "chartqa": (benchmarks.write_chartqa, [("How human?", ["14"], "human_0", "human"),
                                           ("How augmented?", ["14"], "augmented_0", "augmented")]),
    "scienceqa": (benchmarks.write_scienceqa, [
        (f"Context: It barks.\n{PAIR}", ["B"], "5", "natural science")]),
    "seed": (benchmarks.write_seed, [
        ("Where?\nA. here\nB. there\nC. up\nD. down", ["C"], "11", "Place")]),
    "mme": (benchmarks.write_mme, [
        (question, [answer], f"{task}/{name}", task)
        for task, name in (("count", "000.jpg"), ("posters", "tt1.jpg"))
        for question, answer in (("Is there one?", "Yes"), ("Are there two?", "No"))]),
    "coco_captions": (benchmarks.write_captions, [
        ("", ["a red picture", "all red"], 1, ""), ("", ["a blue picture", "all blue"], 2, "")]),
    "nocaps": (benchmarks.write_captions, [("", [f"caption {n}" for n in range(10)], 4,
                                            "in-domain")]),
    "textcaps": (benchmarks.write_captions, [("", ["sign 0", "sign 1"], "t1", "")]),
    "questions": (write_own, [("Alike?", ["no"], "x", "pairs"), ("1 + 1?", ["2", "two"], 1, "")]),
}


@pytest.mark.parametrize("name", FORMS)
def test_official_files(name: str, tmp_path: Path) -> None:
    """Every benchmark's fields, and its pictures where they are published to lie."""
    write, rows = CASES[name]
    write(tmp_path)
    got = samples(name, tmp_path)
    assert [(each["question"], each["answers"], each["question_id"], each["category"])
            for each in got] == rows
    assert len({each["key"] for each in got}) >= len(got) - 2 * (name == "mme")
    pictures = [each["pictures"] for each in got]
    assert [len(each) for each in pictures] == ([2, 0] if name == "questions" else [1] * len(got))
    assert pictures[0][0].convert("RGB").getpixel((3, 3)) == (255, 0, 0)


def test_splits(tmp_path: Path) -> None:
    """Of VQA's tests there are no annotations; COCO's training split has two names."""
    picture(tmp_path / "test2015/COCO_test2015_000000000001.jpg")
    write_json(tmp_path / "v2_OpenEnded_mscoco_test-dev2015_questions.json", {
        "questions": [{"image_id": 1, "question": "Why?", "question_id": 1}]})
    assert samples("vqav2", tmp_path, split="test-dev2015")[0]["answers"] == []
    benchmarks.write_captions(tmp_path)
    with pytest.raises(CorekitError, match="none of the pictures, such as val2014/c3.jpg"):
        samples("coco_captions", tmp_path, split="train")


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    """Missing files, other files, cut ones, and none of the pictures."""
    with pytest.raises(CorekitError, match=r"v2_.*_questions\.json does not exist"):
        samples("vqav2", tmp_path)
    path = tmp_path / "TextVQA_0.5.1_val.json"
    for content in ("{", "[]", '{"data": [{"question": "?"}]}', '{"data": 1}', '{"data": [[]]}',
                    '{"data": [{"image_id": "a", "question": 1, "question_id": 1}]}', "\xff"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(CorekitError, match="is not as files of 'textvqa' are"):
            samples("textvqa", tmp_path)
    path.write_text('{"data": []}')
    with pytest.raises(CorekitError, match="has no questions"):
        samples("textvqa", tmp_path)
    path.write_text('{"data": [{"image_id": "a", "question": "?", "question_id": 1}]}')
    with pytest.raises(CorekitError, match=r"none of the pictures, such as a\.jpg: they lie in "
                                           "train_images/ or images/train_images/"):
        samples("textvqa", tmp_path)


def test_bad_pictures_are_bad_samples(tmp_path: Path) -> None:
    """One that is not there, one that is none, and a name that leaves the folder."""
    write_vqa(tmp_path)
    (tmp_path / "val2014/COCO_val2014_000000000002.jpg").write_bytes(b"none")
    dataset = QuestionPictures(str(tmp_path), "val2014", form="vqav2")
    first, second = dataset.read(0, 0, 2)
    assert dataset.decode(first)["question_id"] == 10
    with pytest.raises(BadSampleError, match="no picture"):
        dataset.decode(second)
    (tmp_path / "val2014/COCO_val2014_000000000002.jpg").unlink()
    with pytest.raises(BadSampleError, match="does not exist"):
        dataset.decode(dataset.read(0, 1, 1)[0])
    write_own(tmp_path)
    (tmp_path / "questions.jsonl").open("a").write('\n{"picture": "../x.png", "answer": "1"}')
    own = QuestionPictures(str(tmp_path), "questions", form="questions")
    with pytest.raises(BadSampleError, match="leaves the folder"):
        own.decode(own.read(0, 2, 1)[0])


def test_no_root_has_no_samples() -> None:
    """As a dry run needs it."""
    assert not QuestionPictures(None, "val", form="docvqa").shard_sizes.sum()
