"""A head for other classes than the weights were trained on, from rows of the old one or random."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from corekit.errors import CorekitError
from corekit.printable import printable
from corekit.recipes.schema import RunConfig

WEIGHT, BIAS = "head.weight", "head.bias"
RANDOM = "random"
REPORT = "head.tsv"
COLUMNS = ("class", "name", "how", "similarity", "rows", "from")

State = Mapping[str, Tensor]


class Match(NamedTuple):
    """Where a class of the new head comes from."""

    name: str  # of the class
    rows: tuple[int, ...] = ()  # of the old head, whose mean it starts from; none: it stays random
    how: str = RANDOM  # the rows were matched, in a word
    similarity: float | None = None  # of class and rows, at the least
    source: str = ""  # what the rows stand for


# (what the data set calls its classes, rows of the old head, the recipe of the old weights or None)
# -> a Match for each class
Matcher = Callable[[Sequence[str], int, RunConfig | None], list[Match]]


class NewHead:
    """Makes ``head.weight`` [K, D] and ``head.bias`` [K] from those of a file with other classes.

    Rows without a counterpart stay as the model has them. Their bias becomes the mean of those that
    are copied: after multi-label training all of these lie far below 0, and a class at 0 would win
    every time. The matcher is an entry of kind ``head``; None: no class has a counterpart.
    """

    def __init__(self, matcher: Matcher | None, class_names: Sequence[str]) -> None:
        self.matcher, self.class_names = matcher, class_names
        self.matches: list[Match] = []  # one for each class, once it was called

    def __call__(self, loaded: State, own: State, trained_as: RunConfig | None,
                 file: Path) -> dict[str, Tensor]:
        """The file's tensors, loaded, with the head of the model's size, whose own tensors stay.

        ``trained_as`` is the recipe beside the file, if there is one.

        Raises:
            CorekitError: a side has no head, or the matcher gives too many or too few classes.
        """
        for state, whose in ((loaded, f"{file} has"), (own, "the model has")):
            if WEIGHT not in state:
                raise CorekitError(f"init.head makes a new {WEIGHT}, but {whose} none: leave "
                                   "init.head out")
        tensors = {**loaded, **{name: own[name] for name in (WEIGHT, BIAS) if name in own}}
        if self.matcher is None:
            return tensors
        old, new = loaded[WEIGHT], own[WEIGHT]
        self.matches = self.matcher(self.class_names, len(old), trained_as)
        if len(self.matches) != len(new):
            raise CorekitError(f"init.head: there are {len(self.matches):,} names of classes, but "
                               "the model's head has "
                               f"{len(new):,} rows: set its num_classes to the number of classes")
        if old.shape[1:] != new.shape[1:]:
            return dict(loaded)  # another model: reported with all else that does not fit
        matched = [number for number, match in enumerate(self.matches) if match.rows]
        if matched:
            tensors[WEIGHT] = _means(new, old, matched, self.matches)
            if BIAS in own and BIAS in loaded:
                bias = _means(own[BIAS], loaded[BIAS], matched, self.matches)
                unmatched = torch.ones(len(bias), dtype=torch.bool)
                unmatched[matched] = False
                bias[unmatched] = bias[~unmatched].mean()
                tensors[BIAS] = bias
        return tensors

    def report(self) -> str:
        """A line for each class, separated by tabs, under a line of titles."""
        lines: list[Sequence[str]] = [COLUMNS]
        for number, match in enumerate(self.matches):
            similarity = "" if match.similarity is None else f"{match.similarity:.3f}"
            rows = ",".join(map(str, match.rows))
            lines.append((str(number), match.name, match.how, similarity, rows, match.source))
        return "".join("\t".join(map(printable, line)) + "\n" for line in lines)

    def summary(self) -> str:
        """What is in the report, in a line."""
        counts = Counter(match.how for match in self.matches).most_common()
        counted = ", ".join(f"{count:,} by {how}" if how != RANDOM else f"{count:,} random"
                            for how, count in counts)
        exact = sum(match.similarity == 1 for match in self.matches)
        return (f"rows of the head for {len(self.matches):,} classes: {counted} ({exact:,} exact); "
                f"{REPORT} has each")


def _means(new: Tensor, old: Tensor, classes: Sequence[int], matches: Sequence[Match]) -> Tensor:
    """``new`` with the mean of the matched rows of ``old`` for each of these classes."""
    mean = new.detach().cpu().clone()
    for number in classes:
        mean[number] = old[list(matches[number].rows)].mean(0)
    return mean
