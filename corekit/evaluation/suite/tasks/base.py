"""What the sets of a suite have in common: a folder that is opened and checked, then predicted."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.shards.notes import missing_shards
from corekit.data.shards.webdataset import WebDataset
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.suite.figure import Figures, Predictions
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.text_features import TextFeatures

Arrays = dict[str, NDArray[np.generic]]
SHARDS = "test/*.tar;*.tar"  # as CLIP_benchmark and DataComp lay them out
IMAGE = "jpg;jpeg;png;webp"


class Task(Protocol):
    """The contract of kind ``task``: a set in a folder, opened, checked and not yet predicted.

    Its constructor gets ``folder``, ``eval_set`` and ``batch_size``, and raises a CorekitError
    where the folder is not the set that the table describes.
    """

    source: Source
    names: Sequence[str]  # of classes; none where there are no classes
    templates: Sequence[str]

    def predict(self, eval_model: EvalModel, texts: TextFeatures) -> Arrays:
        """What is kept of the set's samples, the same on every rank."""
        ...

    def figures(self, predictions: Predictions) -> Figures:
        """The figures of predictions; a pure function."""
        ...

    def count(self, predictions: Predictions) -> int:
        """How many samples were predicted."""
        ...


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
