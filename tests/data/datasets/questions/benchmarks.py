"""Benchmarks of two or three questions, in the files that each is published in."""

import json
from pathlib import Path

from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def picture(path: Path, colour: str = "red") -> None:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), COLOURS[colour]).save(path, "PNG")


def write_json(path: Path, content: object) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_vqa(root: Path, version: str = "v2_", split: str = "val2014") -> None:
    """VQAv2's or OKVQA's two files: what colour is it, of a red and a green picture."""
    questions, annotations = [], []
    for number, colour in enumerate(("red", "green"), 1):
        picture(root / split / f"COCO_{split}_{number:012}.jpg", colour)
        questions.append({"image_id": number, "question": "What colour is it?",
                          "question_id": 10 * number})
        answers = [{"answer": colour, "answer_confidence": "yes", "answer_id": person}
                   for person in range(1, 11)]
        annotations.append({"question_id": 10 * number, "image_id": number, "answers": answers,
                            "question_type": "what", "answer_type": "other",
                            "multiple_choice_answer": colour})
    write_json(root / f"{version}OpenEnded_mscoco_{split}_questions.json",
               {"questions": questions, "data_subtype": split})
    write_json(root / f"{version}mscoco_{split}_annotations.json", {"annotations": annotations})


def write_textvqa(root: Path) -> None:
    """TextVQA's file."""
    picture(root / "train_images/abc.jpg")
    write_json(root / "TextVQA_0.5.1_val.json", {"data": [
        {"image_id": "abc", "question": "what does it say?", "question_id": 7,
         "answers": ["stop"] * 9 + ["halt"], "image_classes": ["Sign"]}]})


def write_gqa(root: Path) -> None:
    """GQA's file."""
    picture(root / "images/n1.jpg")
    write_json(root / "testdev_balanced_questions.json", {"201": {
        "question": "Is it red?", "imageId": "n1", "answer": "yes",
        "types": {"structural": "verify", "semantic": "attr"}}})


def write_docvqa(root: Path) -> None:
    """DocVQA's and InfographicVQA's files."""
    picture(root / "documents/a_1.png")
    picture(root / "infographicsvqa_images/5.jpeg")
    write_json(root / "val_v1.0_withQT.json", {"data": [
        {"questionId": 49, "question": "What is the date?", "image": "documents/a_1.png",
         "answers": ["May 1", "1 May"], "question_types": ["layout", "form"]}]})
    write_json(root / "infographicsVQA_val_v1.0_withQT.json", {"data": [
        {"questionId": 98, "question": "How many?", "image_local_name": "5.jpeg",
         "answers": ["12"], "answer_type": ["single span"]}]})


def write_chartqa(root: Path) -> None:
    """ChartQA's two halves."""
    for name, part in (("1.png", "human"), ("2.png", "augmented")):
        picture(root / "test/png" / name)
        write_json(root / f"test/test_{part}.json",
                   [{"imgname": name, "query": f"How {part}?", "label": "14"}])


def write_scienceqa(root: Path) -> None:
    """ScienceQA's files, in which one of two questions has a picture."""
    picture(root / "images/test/5/image.png")
    common = {"question": "Which is it?", "choices": ["cat", "dog"], "subject": "natural science"}
    write_json(root / "problems.json", {
        "5": {**common, "answer": 1, "hint": "It barks.", "image": "image.png"},
        "6": {**common, "answer": 0, "hint": "", "image": None}})
    write_json(root / "pid_splits.json", {"test": ["5", "6"]})


def write_seed(root: Path) -> None:
    """SEED-Bench's file, with a question about a video."""
    picture(root / "SEED-Bench-image/1454_25")
    question = {"question": "Where?", "choice_a": "here", "choice_b": "there", "choice_c": "up",
                "choice_d": "down", "answer": "C", "question_type_id": 2}
    write_json(root / "SEED-Bench.json", {
        "question_type": {"Scene": 1, "Place": 2},
        "questions": [{**question, "data_id": "1454_25", "data_type": "image",
                       "question_id": "11"},
                      {**question, "data_id": "v.mp4", "data_type": "video", "question_id": "12"}]})


def write_mme(root: Path) -> None:
    """MME's folders in both of their forms, and a text file that is no question."""
    picture(root / "count/000.jpg")
    lines = ("Is there one? Please answer yes or no.\tYes\n"
             "Are there two? Please answer yes or no.\tNo")
    (root / "count/000.txt").write_text(lines)
    picture(root / "posters/images/tt1.jpg")
    (root / "posters/questions_answers_YN").mkdir()
    (root / "posters/questions_answers_YN/tt1.txt").write_text(lines + "\n")
    (root / "count/readme.txt").write_text("nothing")


def write_captions(root: Path) -> None:
    """COCO's, NoCaps' and TextCaps' files."""
    picture(root / "val2014/c1.jpg")
    picture(root / "val2014/c2.jpg", "blue")
    write_json(root / "dataset_coco.json", {"images": [
        {"filepath": "val2014", "filename": f"c{number}.jpg", "cocoid": number, "split": split,
         "sentences": [{"raw": f"a {colour} picture"}, {"raw": f"all {colour}"}]}
        for number, colour, split in ((1, "red", "test"), (2, "blue", "test"),
                                      (3, "green", "restval"))]})
    picture(root / "val/0a.jpg")
    write_json(root / "nocaps_val_4500_captions.json", {
        "images": [{"id": 4, "file_name": "0a.jpg", "domain": "in-domain"}],
        "annotations": [{"image_id": 4, "caption": f"caption {n}"} for n in range(10)]})
    picture(root / "train_images/t1.jpg")
    write_json(root / "TextCaps_0.1_val.json", {"data": [
        {"image_id": "t1", "caption_str": f"sign {n}", "reference_strs": ["sign 0", "sign 1"]}
        for n in range(2)]})
