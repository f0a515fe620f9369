"""Replies as the servers of benchmarks take them."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from corekit.evaluation.generation.replies import Reply

Files = dict[str, bytes | bytearray]


def answer_lines(replies: Sequence[Reply]) -> bytes:
    """All that is known of each reply, as JSON Lines."""
    lines = [json.dumps(reply._asdict(), ensure_ascii=False) for reply in replies]
    return "".join(f"{line}\n" for line in lines).encode()


def _list_of(number: str, answer: str) -> Callable[[Sequence[Reply]], Files]:
    """A JSON list of objects with these two keys."""
    def files(replies: Sequence[Reply]) -> Files:
        items = [{number: each.question_id, answer: each.answer} for each in replies]
        return {"submission.json": json.dumps(items).encode()}

    return files


def _seed(replies: Sequence[Reply]) -> Files:
    lines = [json.dumps({"question_id": each.question_id, "prediction": each.answer[:1]})
             for each in replies]
    return {"submission.jsonl": "\n".join([*lines, ""]).encode()}


def _mme(replies: Sequence[Reply]) -> Files:
    """A text file for each task: picture, question, right answer and reply, between tabs."""
    lines: dict[str, list[str]] = defaultdict(list)
    for each in replies:
        picture = str(each.question_id).rpartition("/")[2]
        answer = " ".join(each.answer.split())
        lines[each.category].append("\t".join([picture, each.question, *each.right, answer]))
    return {f"{re.sub('[^0-9A-Za-z_-]', '_', task)}.txt": "\n".join([*of_task, ""]).encode()
            for task, of_task in lines.items()}  # tasks are names from outside


SUBMISSIONS: Mapping[str, Callable[[Sequence[Reply]], Files]] = {
    "vqa": _list_of("question_id", "answer"),  # VQAv2, OKVQA, TextVQA
    "docvqa": _list_of("questionId", "answer"),  # InfographicVQA, too
    "gqa": _list_of("questionId", "prediction"),
    "captions": _list_of("image_id", "caption"),  # COCO, NoCaps, TextCaps
    "seed": _seed,
    "mme": _mme,
}
