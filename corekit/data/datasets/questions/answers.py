"""The forms of benchmarks that ask for short answers."""

import json
import sys
from collections.abc import Iterable

from corekit.data.datasets.questions.annotations import AnnotationFiles, Item, Question, Questions


def vqav2(files: AnnotationFiles, split: str) -> Questions:
    """VQAv2's two files, of which splits for tests have the questions alone."""
    return _vqa(files, split, "v2_")


def okvqa(files: AnnotationFiles, split: str) -> Questions:
    """OKVQA's, which have the names that VQA's first version has."""
    return _vqa(files, split, "")


def _vqa(files: AnnotationFiles, split: str, version: str) -> Questions:
    questions = files.json(f"{version}OpenEnded_mscoco_{split}_questions.json")["questions"]
    annotations = {}
    if not split.startswith("test"):
        items = files.json(f"{version}mscoco_{split}_annotations.json")["annotations"]
        annotations = {item["question_id"]: item for item in items}
    folder = split.replace("-dev", "")

    def question(item: Item) -> Question:
        annotation = annotations.get(item["question_id"], {})
        # two million strings, of which most are alike
        answers = tuple(sys.intern(each["answer"]) for each in annotation.get("answers", ()))
        return Question((f"COCO_{folder}_{int(item['image_id']):012}.jpg",), item["question"],
                        answers, item["question_id"], annotation.get("answer_type", ""))

    return Questions([*map(question, questions)], [f"{folder}/", f"images/{folder}/"])


def textvqa(files: AnnotationFiles, split: str) -> Questions:
    """TextVQA_0.5.1_SPLIT.json; pictures of train and val lie in one folder."""
    items = files.json(f"TextVQA_0.5.1_{split}.json")["data"]
    folder = "test_images/" if split == "test" else "train_images/"
    return Questions([Question((f"{item['image_id']}.jpg",), item["question"],
                               tuple(item.get("answers", ())), item["question_id"])
                      for item in items], [folder, f"images/{folder}"])


def gqa(files: AnnotationFiles, split: str) -> Questions:
    """GQA's SPLIT_questions.json; a category is a question's structural type."""
    items = files.json(f"{split}_questions.json", f"questions/{split}_questions.json")
    return Questions([Question((f"{item['imageId']}.jpg",), item["question"],
                               (item["answer"],) if "answer" in item else (), number,
                               item.get("types", {}).get("structural") or "")
                      for number, item in items.items()], ["images/"])


def docvqa(files: AnnotationFiles, split: str) -> Questions:
    """DocVQA's SPLIT_v1.0_withQT.json or SPLIT_v1.0.json."""
    return _documents(files, f"{split}_v1.0", "spdocvqa", "image", "question_types")


def infovqa(files: AnnotationFiles, split: str) -> Questions:
    """InfographicVQA's, infographicsVQA_SPLIT_v1.0_withQT.json or without types."""
    return _documents(files, f"infographicsVQA_{split}_v1.0", "infographicsvqa",
                      "image_local_name", "answer_type")


def _documents(files: AnnotationFiles, name: str, archive: str, picture: str,
               types: str) -> Questions:
    """The files of both, in which a question may be of several types."""
    names = [f"{name}_withQT.json", f"{name}.json"]
    items = files.json(*names, *(f"{archive}_qas/{each}" for each in names))["data"]
    return Questions([Question((item[picture].rpartition("/")[2],), item["question"],
                               tuple(item.get("answers", ())), item["questionId"],
                               ", ".join(item.get(types, ()))) for item in items],
                     [f"{archive}_images/", "documents/", "images/"])


def chartqa(files: AnnotationFiles, split: str) -> Questions:
    """ChartQA's SPLIT/SPLIT_human.json and SPLIT_augmented.json; each half is a category."""
    questions = []
    for part in ("human", "augmented"):
        items = files.json(f"{split}/{split}_{part}.json")
        questions += [Question((item["imgname"],), item["query"], (item["label"],),
                               f"{part}_{number}", part) for number, item in enumerate(items)]
    return Questions(questions, [f"{split}/png/"])


def lines(files: AnnotationFiles, split: str) -> Questions:
    """One's own questions: SPLIT.jsonl, a line for each.

    It has ``question``, ``picture`` or a list ``pictures``, ``answer`` or a list ``answers``, and,
    if wanted, ``id`` and ``category``.
    """
    rows = (json.loads(line) for line in files.read(f"{split}.jsonl").splitlines() if line.strip())
    return Questions([_own(row, number) for number, row in enumerate(rows)])


def _own(row: Item, number: int) -> Question:
    return Question(_several(row, "pictures", "picture"), row.get("question", ""),
                    tuple(map(str, _several(row, "answers", "answer"))), row.get("id", number),
                    str(row.get("category", "")))


def _several(row: Item, many: str, one: str) -> tuple[str, ...]:
    values: Iterable[str] = row[many] if many in row else [row[one]] if one in row else []
    if isinstance(values, str):
        raise TypeError(f"{many} is no list")
    return tuple(values)
