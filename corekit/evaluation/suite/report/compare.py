"""Two models set by set: differences with intervals and tests, as a table of text."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corekit.errors import CorekitError
from corekit.evaluation.figure import Figure
from corekit.evaluation.metrics.uncertainty import NONE
from corekit.evaluation.suite.report.paired import (
    TASKS,
    Difference,
    holm,
    paired,
    same_samples,
    two_sided,
    unpaired,
)
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.report.table import SHORT, WIDTH
from corekit.evaluation.suite.sets import EvalSet, known_sets
from corekit.evaluation.suite.store import SetRecord

LEVEL = 0.05  # of the test over all sets
HASHES = {"data": "data", "names": "class names", "templates": "templates",
          "preprocess": "preprocessing", "precision": "precision"}


@dataclass(frozen=True)
class Comparison:
    """The differences of two models by the keys of their common sets, and what to know of them."""

    differences: Mapping[str, Difference]
    notes: Sequence[str]


def compare(sets: Sequence[EvalSet], first: Results, second: Results) -> Comparison:
    """The second model against the first on every set that both have.

    Raises:
        CorekitError: they have no set in common, or predictions cannot be read.
    """
    keys = [*dict.fromkeys([*(each.key for each in sets if each.key in first.records),
                            *first.records])]
    common = [key for key in keys if key in second.records]
    if not common:
        raise CorekitError(f"{first.name} and {second.name} have no evaluation set in common")
    by_key = {each.key: each for each in [*known_sets(), *sets]}
    differences: dict[str, Difference] = {}
    for key in common:
        group = by_key[key].group if key in by_key else None
        difference = _difference(key, group, first, second)
        if difference is not None:
            differences[key] = difference
    return Comparison(differences, _notes(common, differences, first, second))


def _difference(key: str, group: int | None, first: Results,
                second: Results) -> Difference | None:
    """Paired where both models' predictions of the same samples are kept, else unpaired."""
    record, other = first.records[key], second.records[key]
    own, theirs = first.predictions(key), second.predictions(key)
    same_data = record.hashes.get("data") == other.hashes.get("data")
    if own is not None and theirs is not None and same_data and record.task in TASKS and (
            same_samples(record.task, own, theirs)):
        estimates = TASKS[record.task][0]
        return paired(estimates(own, group).get(record.metric, NONE),
                      estimates(theirs, group).get(record.metric, NONE))
    nothing = Figure(None, 0)
    return unpaired(record.figures.get(record.metric, nothing),
                    other.figures.get(record.metric, nothing))


def comparison_table(sets: Sequence[EvalSet], first: Results, second: Results) -> str:
    """A line for each common set, the average where both have all sets, and what to know."""
    comparison = compare(sets, first, second)
    differences = comparison.differences
    tested = {key: each.p_value for key, each in differences.items() if each.p_value is not None}
    adjusted = dict(zip(tested, holm([*tested.values()])))
    lines = [f"A  {_described(first)}", f"B  {_described(second)}",
             f"{'set':<23}{'figure':<14}{'A %':>7}{'B %':>7}{'B - A':>8}{'95 % interval':>18}"
             f"{'p':>8}  test"]
    lines.append("-" * (len(lines[-1]) + 4))
    for key, each in differences.items():
        record = first.records[key]
        name = SHORT.get(record.metric, record.metric).replace("worst_group", "worst")
        lines.append(_line(record.name, name, each, adjusted.get(key, 1.0) < LEVEL))
    lines.append(lines[3])
    lines.append(_average(sets, differences))
    different = [first.records[key].name for key, p in adjusted.items() if p < LEVEL]
    verdict = (f"Of {len(tested)} tests, chance alone makes {LEVEL * len(tested):.2g} differ at "
               f"p < {LEVEL}. By Holm's rule for all of them together, "
               f"{len(different)} differ (*){': ' if different else ''}{', '.join(different)}")
    for note in (verdict, *comparison.notes):
        lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ")
    return "\n".join(line.rstrip() for line in lines)


def _described(results: Results) -> str:
    """The name, and where its predictions are kept."""
    where = "" if results.store is None or str(results.store) == results.name else results.store
    return f"{results.name}  ({where})" if where else results.name


def _line(name: str, figure: str, each: Difference, is_sure: bool) -> str:
    bounds = each.interval()
    interval = "" if bounds is None else f"{100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f}"
    p_value = "" if each.p_value is None else (
        f"{each.p_value:.3f}" if each.p_value >= 1e-3 else
        f"{each.p_value:.0e}" if each.p_value > 1e-99 else "<1e-99")
    return (f"{name[:22]:<23}{figure[:13]:<14}{100 * each.first:>7.2f}{100 * each.second:>7.2f}"
            f"{100 * each.value:>+8.2f}{interval:>18}{p_value:>8}{'*' if is_sure else ' '} "
            f"{each.test}")


def _average(sets: Sequence[EvalSet], differences: Mapping[str, Difference]) -> str:
    of_table = [differences[each.key] for each in sets if each.key in differences]
    count = len(sets)
    if len(of_table) < count:
        return f"{'average':<23}no average: {len(of_table)} of {count} sets"
    first, second = (math.fsum(values) / count for values in
                     zip(*((each.first, each.second) for each in of_table)))
    errors = [each.standard_error for each in of_table if each.standard_error is not None]
    error = math.sqrt(math.fsum(each**2 for each in errors)) / count
    is_known = len(errors) == count
    whole = Difference(first, second, error if is_known else None,
                       two_sided(second - first, error) if is_known else None,
                       "")
    return _line("average", f"{count} sets", whole, is_sure=False)


def _notes(common: Sequence[str], differences: Mapping[str, Difference], first: Results,
           second: Results) -> list[str]:
    notes = []
    if any(each.test != "unpaired" for each in differences.values()):
        notes.append("McNemar: exact, over samples that one model alone has right. paired: normal, "
                     "of the differences sample by sample (image by image in retrieval)")
    loose = [key for key, each in differences.items() if each.test == "unpaired"]
    if loose:
        which = "all" if len(loose) == len(differences) else ", ".join(loose)
        notes.append("unpaired: normal, as if of other samples, which misses small differences, "
                     "for want of both models' predictions of the same samples; a figure without "
                     f"a standard error counts as sure as the other ({which})")
    for name, words in HASHES.items():
        differing = [key for key in common
                     if _differ(first.records[key], second.records[key], name)]
        if differing:
            notes.append(f"A and B have other {words} of "
                         f"{'all sets' if len(differing) == len(common) else ', '.join(differing)}"
                         ": what differs is not the models alone")
    for results, other, letter in ((first, second, "A"), (second, first, "B")):
        alone = [key for key in results.records if key not in other.records]
        if alone:
            notes.append(f"{letter} alone has {', '.join(alone)}")
    undefined = [key for key in common if key not in differences]
    if undefined:
        notes.append(f"no figure to compare: {', '.join(undefined)}")
    return notes


def _differ(first: SetRecord, second: SetRecord, name: str) -> bool:
    """Whether both say what they had, and it is not the same."""
    hashes = first.hashes.get(name), second.hashes.get(name)
    return None not in hashes and hashes[0] != hashes[1]
