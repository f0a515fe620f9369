"""Averages over the sets of a table: all of them, and the groups that the table names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corekit.evaluation.figure import Figure
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.store import SetRecord

WHOLE = "average"  # over all sets of a table


@dataclass(frozen=True)
class Average:
    """The unweighted mean of sets' main figures; without a figure where sets are missing."""

    name: str
    present: int  # sets
    total: int
    figure: Figure | None


def averages(sets: Sequence[EvalSet], records: Mapping[str, SetRecord]) -> list[Average]:
    """Those of a table, the one over all of its sets last.

    Only sets of the table count, whatever else there are records of. Samples of different sets are
    independent, so that variances add up; where a set has none, the average has none.
    """
    names = dict.fromkeys(name for each in sets for name in each.averages)
    return [*(_average(name, [each for each in sets if name in each.averages], records)
              for name in names), _average(WHOLE, sets, records)]


def _average(name: str, sets: Sequence[EvalSet], records: Mapping[str, SetRecord]) -> Average:
    figures = [main_figure(records[each.key]) for each in sets if each.key in records]
    values = [figure.value for figure in figures if figure.value is not None]
    if len(values) < len(sets):
        return Average(name, len(values), len(sets), None)
    errors = [figure.standard_error for figure in figures if figure.standard_error is not None]
    error = math.sqrt(math.fsum(each**2 for each in errors)) / len(sets)
    mean = math.fsum(values) / len(sets)
    samples = sum(figure.samples for figure in figures)
    return Average(name, len(sets), len(sets),
                   Figure(mean, samples, error if len(errors) == len(sets) else None))


def main_figure(record: SetRecord) -> Figure:
    """The figure that stands for a set; without a value where it has none."""
    return record.figures.get(record.metric, Figure(None, record.samples))
