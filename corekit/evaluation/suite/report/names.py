"""Names of figures and sets in corekit's records and in other people's files."""

import re
from collections.abc import Iterable

from corekit.evaluation.suite.sets import EvalSet

# of DataComp's eval_results.jsonl and CLIP_benchmark's JSON
THEIRS = {
    "top1": "acc1", "top5": "acc5", "mean_per_class_recall": "mean_per_class_recall",
    "map_macro": "mean_average_precision", "f1_macro": "F1-macro_all",
    "worst_group_top1": "acc_wg", "worst_group_top5": "acc_top5_wg", "mean_r1": "mean_recall@1",
    "jaccard": "avg_jaccard_score", "text_accuracy": "text_acc", "image_accuracy": "image_acc",
    "group_accuracy": "acc", "accuracy": "acc",
    **{f"image_to_text_r{k}": f"text_retrieval_recall@{k}" for k in (1, 5, 10)},
    **{f"text_to_image_r{k}": f"image_retrieval_recall@{k}" for k in (1, 5, 10)},
    **{f"jaccard_{count}": f"jaccard_score_{count.replace('_', '-')}"
       for count in ("5", "6", "10", "12", "5_6", "10_12")},
}
# what DataComp calls the groups of a set
GROUPS = {"wilds/fmow": "region", "wilds/camelyon17": "slide", "fairness/geode": "region",
          "fairness/dollar_street": "income_ds"}
OF_GROUP = re.compile(r"(top[15])_group_(\d+)")
# what CLIP_benchmark calls the tasks that are no zero-shot classification, and sets of other names
TASKS = {"retrieval": "zeroshot_retrieval", "selection": "image_caption_selection",
         "matching": "image_caption_selection"}
SETS = {"retrieval/flickr_1k_test_image_text_retrieval": "flickr30k",
        "retrieval/mscoco_2014_5k_test_image_text_retrieval": "mscoco_captions"}


def their_figure(eval_set: EvalSet, name: str) -> str | None:
    """What others call a figure of a set; None where they have none like it."""
    group = GROUPS.get(eval_set.key, "group")
    of_group = OF_GROUP.fullmatch(name)
    if of_group:
        return f"{'acc' if of_group[1] == 'top1' else 'acc_top5'}_{group}:{of_group[2]}"
    if name == "worst_group_top1" and eval_set.key == "wilds/fmow":
        return "acc_worst_region"
    return THEIRS.get(name)


def our_figures(eval_set: EvalSet, theirs: Iterable[str]) -> dict[str, str]:
    """Others' names of a set's figures by what corekit calls them; others are left out."""
    group = re.escape(GROUPS.get(eval_set.key, "group"))
    by_theirs = {their: our for our, their in THEIRS.items()
                 if our not in ("accuracy", "group_accuracy")}
    by_theirs["acc"] = "group_accuracy" if eval_set.task == "matching" else "accuracy"
    by_theirs["acc_worst_region"] = "worst_group_top1"
    ours = {}
    for name in theirs:
        of_group = re.fullmatch(rf"acc(_top5)?_{group}:(\d+)", name)
        if of_group:
            ours[f"top{5 if of_group[1] else 1}_group_{of_group[2]}"] = name
        elif name in by_theirs:
            ours[by_theirs[name]] = name
    return ours


def find_set(sets: Iterable[EvalSet], word: str) -> EvalSet | None:
    """The set of a key, a display name or the name of a folder, such as ``wds/vtab/dtd``."""
    plain = _plain(word)
    return next((each for each in sets
                 if plain in {_plain(name) for name in (each.key, each.name, *each.folders)}), None)


def _plain(name: str) -> str:
    return re.sub(r"^wds[_/]|_test$", "", name).replace("/", "-").lower()
