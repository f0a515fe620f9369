"""Whether a folder is the evaluation set that a table describes: known without torch, and soon."""

from collections.abc import Sequence

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.shards.notes import missing_shards, read_set_names
from corekit.data.shards.webdataset import WebDataset
from corekit.errors import CorekitError
from corekit.evaluation.suite.sets import EvalSet

SHARDS = "test/*.tar;*.tar"  # as CLIP_benchmark and DataComp lay them out
IMAGE = "jpg;jpeg;png;webp"


def check_folder(folder: str, eval_set: EvalSet) -> None:
    """Refuse a folder whose samples, class names or templates are not those of the set.

    Labels and captions are known when they are read. Tasks of a project's own check themselves.

    Raises:
        CorekitError: with what is wrong.
    """
    if eval_set.task in ("classification", "multi_label"):
        check_named(eval_set, open_shards(folder, label="cls"), *read_set_names(folder))
    elif eval_set.task == "retrieval":
        check_count(eval_set, open_shards(folder, text="txt"))


def check_named(eval_set: EvalSet, source: Source, names: Sequence[str],
                templates: Sequence[str]) -> list[str]:
    """Check classes, templates and samples; the templates with ``{}`` for the name."""
    check_classes(eval_set, source, names)
    checked = checked_templates(eval_set, source, templates)
    check_count(eval_set, source)
    return checked


def open_shards(folder: str, **fields: str) -> WebDataset:
    """The test shards of a set's folder.

    Raises:
        CorekitError: there are none, or fewer than ``nshards.txt`` counts.
    """
    missing = missing_shards(f"{folder}/test")
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise CorekitError(f"{folder}/test lacks {missing[0]}{more}, which its nshards.txt counts")
    return WebDataset(folder, SHARDS, {"image": IMAGE, **fields})


def check_count(eval_set: EvalSet, source: Source) -> None:
    """Raise a CorekitError where there are not as many samples as the table says."""
    count = int(source.shard_sizes.sum())
    if eval_set.samples not in (None, count):
        raise CorekitError(f"{_where(eval_set, source)} has {count:,} samples, but its table says "
                           f"{eval_set.samples:,}: a shard may be missing, or it is another "
                           "version of the set; evaluators.SUITE.check=false takes it as it is")


def check_classes(eval_set: EvalSet, source: Source, names: Sequence[str]) -> None:
    """Raise a CorekitError where there are not as many class names as the table says."""
    if not names:
        raise CorekitError(f"{_where(eval_set, source)} has no classnames.txt, which has the name "
                           "of a class in each line")
    if eval_set.classes not in (None, len(names)):
        raise CorekitError(f"{_where(eval_set, source)} has {len(names):,} names in classnames.txt,"
                           f" but its table says {eval_set.classes:,} classes")


def checked_templates(eval_set: EvalSet, source: Source, templates: Sequence[str]) -> list[str]:
    """The templates of a set's folder, with ``{}`` for the name in the place of ``{c}``.

    Raises:
        CorekitError: there are none, or one has not exactly one place for the name.
    """
    templates = [template.replace("{c}", "{}") for template in templates]
    if not templates:
        raise CorekitError(f"{_where(eval_set, source)} has no "
                           "zeroshot_classification_templates.txt, which has a sentence with {c} "
                           "for the class name in each line")
    for template in templates:
        if template.count("{}") != 1 or set("{}") & set(template.replace("{}", "")):
            raise CorekitError(f"{_where(eval_set, source)}: the template '{template}' must have "
                               "one {c} for the class name, and no other braces")
    return templates


def _where(eval_set: EvalSet, source: Source) -> str:
    return f"evaluation set '{eval_set.key}' ({dataset_info(source).name})"
