"""Compare corekit's figures of answers and captions with other implementations, case by case.

    python tools/check_answer_metrics.py --vqa .../vqaEvaluation/vqaEval.py --lmms-eval FOLDER \\
        --pycocoevalcap FOLDER [--captions FILE.jsonl] [--cases 1000]

The files are those of GT-Vision-Lab/VQA and of the unpacked wheels of lmms-eval and pycocoevalcap;
only the functions that score are run. With --captions, lines with a list ``captions`` of each
picture, the first of them is scored against the others, with corekit's words and with those of the
reference tokenizer, which needs java.
"""

import argparse
import ast
import importlib
import json
import math
import random
import re
import statistics
import string
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from corekit.evaluation.metrics.generation.anls import anls
from corekit.evaluation.metrics.generation.bleu import bleu
from corekit.evaluation.metrics.generation.caption_words import caption_words
from corekit.evaluation.metrics.generation.cider import cider
from corekit.evaluation.metrics.generation.mme import (
    COGNITION,
    PERCEPTION,
    is_right,
    mme_estimates,
)
from corekit.evaluation.metrics.generation.rouge import rouge_l
from corekit.evaluation.metrics.generation.short_answers import (
    choice,
    exact_match,
    first_letter,
    relaxed_accuracy,
)
from corekit.evaluation.metrics.generation.vqa import normalized_vqa_accuracy, vqa_accuracy

EQUAL = 1e-12  # largest difference that is rounding
MOST_APART = 0.0015  # of CIDEr, with words of another tokenizer
Score = Callable[[str, Sequence[str]], float]
Case = tuple[str, list[str]]
WORDS = ("a the dog red Two zero none 10 dont can't couldnt've it's man's 3.5 1,000 yes no e.g. "
         "U.S.A. t-shirt black/white (left) [x] \"stop\" left, right! why? a_b 50% an ten. "
         "7.5% -3 1e3 nan inf ß ... isnt Somebody'd 1/2 $5 `x` p.m. ONE; dog.cat")
CAPTION_WORDS = "a man dog sits on the red table near of two cats big with and street"


def functions(path: Path) -> SimpleNamespace:
    """The functions, classes and constants of a file, without its imports and decorators."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kept = [node for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Assign))]
    names: dict[str, Any] = {"re": re, "np": np, "math": math, "string": string,
                             "statistics": statistics, "sys": sys, "defaultdict": defaultdict,
                             "print": lambda *words: None,
                             "eval_logger": SimpleNamespace(info=lambda line: None)}
    for node in kept:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
        try:
            exec(compile(ast.Module([node], []), str(path), "exec"), names)
        except Exception:  # of what needs a package none is asked for
            continue
    return SimpleNamespace(**names)


def text(rng: random.Random, most: int = 4) -> str:
    """A few words with some of the signs that scorers treat in ways of their own."""
    words = rng.choices(WORDS.split(), k=rng.randint(0, most))
    return "".join(word + rng.choice([" ", " ", " ", "  ", "\n", "\t", ", ", "-", ".", ""])
                   for word in words)


def cases(rng: random.Random, count: int, people: int) -> list[Case]:
    """Answers, and right ones of which some are alike and some are near the answer."""
    result = []
    for _ in range(count):
        answer = text(rng)
        near = [answer, answer.lower(), answer.upper(), f"{answer} ", answer[1:], f"the {answer}",
                text(rng), text(rng)]
        right = rng.choices(rng.sample(near, rng.randint(1, len(near))), k=people)
        result.append((answer, right))
    return result


def numbers(rng: random.Random, count: int) -> list[Case]:
    """Pairs of numbers, on both sides of 5 %, and with signs that make them strings."""
    result = []
    for _ in range(count):
        number = rng.choice([0.0, rng.uniform(-100, 100), rng.randint(1, 2000)])
        near = number * rng.choice([1, 0.96, 1.05, 0.94, 1.06, 100])
        ends = ["", "", "%", ".", "%%", " "]
        result.append((f"{near:g}{rng.choice(ends)}", [f"{number:g}{rng.choice(ends)}"]))
    return result


def official_vqa(path: Path) -> Score:
    """The accuracy by the official scorer, of one question."""
    scorer = functions(path).VQAEval

    def score(answer: str, people: Sequence[str]) -> float:
        answers = [{"answer": each, "answer_id": number} for number, each in enumerate(people, 1)]
        question = {"answers": answers, "question_type": "", "answer_type": ""}
        data = SimpleNamespace(qa={1: question}, getQuesIds=lambda: [1])
        evaluation = scorer(data, SimpleNamespace(qa={1: {"answer": answer}}), n=10)
        evaluation.updateProgress = lambda progress: None
        evaluation.evaluate()
        return float(evaluation.evalQA[1]) / 100

    return score


def lmms_scores(folder: Path) -> dict[str, Score]:
    """lmms-eval's scores of one question, by corekit's names of metrics."""
    tasks, metrics = folder / "tasks", functions(folder / "api/metrics.py")
    textvqa = functions(tasks / "textvqa/utils.py")
    textvqa.textvqa_process_results.__globals__["EvalAIAnswerProcessor"] = functions(
        tasks / "_task_utils/vqa_eval_metric.py").EvalAIAnswerProcessor
    chart, science = functions(tasks / "chartqa/utils.py"), functions(tasks / "scienceqa/utils.py")
    seed = functions(tasks / "seedbench/utils.py")

    def of_textvqa(answer: str, right: Sequence[str]) -> float:
        document = {"answers": list(right), "question_id": 0}
        return float(textvqa.textvqa_process_results(document, [answer])["exact_match"])

    def of_science(answer: str, right: Sequence[str]) -> float:
        document = {"choices": "ABCDE", "answer": ord(right[0]) - ord("A")}
        return float(science.sqa_process_results(document, [answer])["exact_match"])

    def of_seed(answer: str, right: Sequence[str]) -> float:
        document = {"answer": right[0], "data_type": 1, "question_id": 0}
        item = seed.seed_process_result(document, [answer])["seed_all"]
        return float(seed.seed_aggregation_result([item]))

    return {
        "vqa_normalized": of_textvqa,
        "anls": lambda answer, right: float(metrics.anls(right, [answer])["anls"]),
        "exact": lambda answer, right: float(metrics.exact_match_hf_evaluate(
            [answer], right, ignore_case=True, ignore_punctuation=True)["exact_match"]),
        "relaxed": lambda answer, right: float(chart.relaxed_correctness(answer, right[0])),
        "choice": of_science, "first_letter": of_seed}


def compare(name: str, tested: Sequence[Case], ours: Score, theirs: Score) -> bool:
    """Compare a score case by case, print a line, and say whether it is equal."""
    pairs = [(ours(*case), theirs(*case)) for case in tested]
    worst = max(abs(own - other) for own, other in pairs)
    above = sum(own > 0 for own, _ in pairs)
    print(f"{name:16} {len(pairs):6,} cases, {above:5,} above 0: largest difference {worst:.1e}")
    return worst <= EQUAL


def compare_mme(rng: random.Random, folder: Path, count: int) -> bool:
    """Compare MME's scores of generated replies, task by task."""
    theirs = functions(folder / "tasks/mme/utils.py")
    replies = ["Yes", "no.", "Y", "n", "Not at all", "yes, it is", "  YES", "maybe", "", "I say no",
               "No, yes", "nope", ".yes"]
    answered: list[tuple[str, str, bool]] = []
    items: dict[str, list[object]] = defaultdict(list)
    tasks = (*PERCEPTION, *COGNITION)
    for number in range(count // 2):
        for _ in range(2):
            task, right = tasks[number % len(tasks)], rng.choice(["Yes", "No"])
            answer = rng.choice([*replies, right, right])
            answered.append((task, f"picture {number}", is_right(answer, [right])))
            document = {"answer": right, "category": task, "question_id": f"picture {number}"}
            for name, item in theirs.mme_process_results(document, [answer]).items():
                items[name].append(item)
    figures, _ = mme_estimates(answered)
    worst = max(abs((figures[name.removesuffix("_score")].value or 0.0)
                    - theirs.mme_aggregate_results(each)) for name, each in items.items())
    print(f"{'mme':16} {len(answered):6,} cases: largest difference {worst:.1e}, "
          f"perception {figures['mme_perception'].value:.1f}")
    return bool(worst <= 1e-9)  # of figures of up to 2,000


def compare_captions(captions: Sequence[list[str]],
                     references: Sequence[Sequence[list[str]]]) -> bool:
    """Compare CIDEr, BLEU and ROUGE-L of the same words with pycocoevalcap's."""
    modules = {name: importlib.import_module(f"pycocoevalcap.{name.lower()}.{name.lower()}")
               for name in ("Cider", "Bleu", "Rouge")}
    scorers = {name: getattr(module, name) for name, module in modules.items()}
    truth = {number: [" ".join(words) for words in of_picture]
             for number, of_picture in enumerate(references)}
    result = {number: [" ".join(words)] for number, words in enumerate(captions)}
    cider_mean, ciders = scorers["Cider"]().compute_score(truth, result)
    bleus, _ = scorers["Bleu"](4).compute_score(truth, result, verbose=0)
    _, rouges = scorers["Rouge"]().compute_score(truth, result)
    own = cider(captions, references)
    differences = {
        "cider": np.abs(np.array(own) - ciders).max(),
        "bleu": np.abs(np.array(bleu(captions, references)) - bleus).max(),
        "rouge_l": np.abs(np.array([rouge_l(*pair) for pair in zip(captions, references)])
                          - rouges).max()}
    for name, worst in differences.items():
        print(f"{name:16} {len(captions):6,} pictures: largest difference {worst:.1e}"
              f"{f', mean {cider_mean:.4f}' if name == 'cider' else ''}")
    return all(worst <= EQUAL for worst in differences.values())


def generated_captions(rng: random.Random, count: int) -> list[list[list[str]]]:
    """Of each picture a caption and five references of nearly the same words."""
    result = []
    words = CAPTION_WORDS.split()
    for _ in range(count):
        base = rng.choices(words, k=rng.randint(1, 14))
        result.append([[word if rng.random() < 0.7 else rng.choice(words)
                        for word in base[:rng.randint(1, len(base))]] for _ in range(6)])
    return result


def compare_words(path: Path) -> bool:
    """Compare words and CIDEr of real captions with those of the reference tokenizer."""
    tokenizer = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()
    pictures = [json.loads(line)["captions"] for line in path.read_text("utf-8").splitlines()]
    lines = {number: [{"caption": each} for each in captions]
             for number, captions in enumerate(pictures)}
    theirs = [[line.split() for line in captions]
              for captions in tokenizer.tokenize(lines).values()]
    ours = [[caption_words(each) for each in captions] for captions in pictures]
    pairs = [pair for own, other in zip(ours, theirs) for pair in zip(own, other)]
    figures = [statistics.mean(cider([each[0] for each in words], [each[1:] for each in words]))
               for words in (ours, theirs)]
    others = sum(own != other for own, other in pairs)
    print(f"{'words':16} {len(pairs):6,} captions: {others} with other words; CIDEr "
          f"{figures[0]:.4f}, by the reference's words {figures[1]:.4f}")
    same = compare_captions([each[0] for each in theirs], [each[1:] for each in theirs])
    return same and abs(figures[0] - figures[1]) <= MOST_APART


def main() -> int:
    """Print a line for each metric; 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vqa", type=Path, required=True, help="the official vqaEval.py")
    parser.add_argument("--lmms-eval", type=Path, required=True, help="its folder lmms_eval/")
    parser.add_argument("--pycocoevalcap", type=Path, required=True, help="the folder above it")
    parser.add_argument("--captions", type=Path, help="JSON lines with a list `captions`")
    parser.add_argument("--cases", type=int, default=1000)
    options = parser.parse_args()
    sys.path.insert(0, str(options.pycocoevalcap))
    rng, count = random.Random(0), options.cases
    theirs = lmms_scores(options.lmms_eval)
    ten, one, several = (cases(rng, count, people) for people in (10, 1, 3))
    letters = [(rng.choice("ABCab") + rng.choice(["", ".", ". dog", " ", ") x", "bc"]),
                [rng.choice("ABC")]) for _ in range(count)]
    equal = [
        compare("vqa", ten, vqa_accuracy, official_vqa(options.vqa)),
        compare("vqa_normalized", ten, normalized_vqa_accuracy, theirs["vqa_normalized"]),
        compare("anls", several, anls, theirs["anls"]),
        compare("exact", one, exact_match, theirs["exact"]),
        compare("relaxed", [*numbers(rng, count), *one], relaxed_accuracy, theirs["relaxed"]),
        compare("choice", letters, choice, theirs["choice"]),
        compare("first_letter", letters, first_letter, theirs["first_letter"]),
        compare_mme(rng, options.lmms_eval, count)]
    generated = generated_captions(rng, count)
    equal.append(compare_captions([each[0] for each in generated],
                                  [each[1:] for each in generated]))
    if options.captions:
        equal.append(compare_words(options.captions))
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
