"""The table of a suite in plain text, beside published rows."""

import math
import textwrap
from collections.abc import Sequence

from corekit.evaluation.figure import Figure
from corekit.evaluation.metrics.uncertainty import QUANTILE, interval
from corekit.evaluation.suite.report.averages import Average, averages, main_figure
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.store import SetRecord

WIDTH = 100  # columns
SHORT = {"mean_per_class_recall": "class recall"}
FEW = 100  # samples of a worst group, below which a note tells them
FULL = 16  # columns of a published row


def result_table(sets: Sequence[EvalSet], results: Results, published: Sequence[Results] = (),
                 width: int = WIDTH) -> str:
    """A line for each set of a table, then its averages, and notes.

    A published figure that differs by more than two standard errors of the difference has a star.
    Where its own error is not known, it counts as sure as the figure beside it, which is of as many
    samples. An average is there only where all of its sets are.

    Args:
        sets: of the table.
        results: what is printed.
        published: beside which; those that do not fit in are named below.
        width: columns of the page.
    """
    head = f"{'set':<23}{'samples':>8}  {'figure':<14}{'%':>7}{'s.e.':>6}{'chance':>7}"
    fitting = list(published)[:max(0, (width - len(head)) // FULL)]
    head += "".join(f"{_cut(each.name, FULL - 2):>{FULL}}" for each in fitting)
    lines = [head.rstrip(), "-" * len(head)]
    for each in sets:
        record = results.records.get(each.key)
        if record is not None:
            figure = main_figure(record)
            cells = [_beside(figure, other, each.key) for other in fitting]
            chance = "" if each.chance is None else f"{each.chance:.1%}"[:-1]
            name = SHORT.get(record.metric, record.metric).replace("worst_group", "worst")
            lines.append(f"{_cut(each.name, 22):<23}{record.samples:>8,}  {_cut(name, 14):<14}"
                         f"{_share(figure)}{chance:>7}{''.join(cells)}")
    lines.append("-" * len(head))
    of_others = [averages(sets, other.records) for other in fitting]
    for number, average in enumerate(averages(sets, results.records)):
        lines.append(_average_line(average, [others[number] for others in of_others]))
    for note in _notes(sets, results, fitting, published):
        lines += textwrap.wrap(note, width, subsequent_indent="  ")
    return "\n".join(line.rstrip() for line in lines)


def differs(figure: Figure, other: Figure) -> bool | None:
    """Whether two figures are more than two standard errors of their difference apart; or None.

    A standard error is half of the 95 % interval through 1.96, as none right of four is not sure.
    """
    own = interval(figure)
    if figure.value is None or other.value is None or own is None:
        return None
    errors = [(high - low) / 2 / QUANTILE for low, high in (own, interval(other) or own)]
    return abs(figure.value - other.value) > 2 * math.hypot(*errors)


def _beside(figure: Figure, other: Results, key: str) -> str:
    record = other.records.get(key)
    return _published_cell(figure, None if record is None else main_figure(record))


def _published_cell(figure: Figure | None, other: Figure | None) -> str:
    """A published figure, how much higher ours is, and a star where that is much."""
    if other is None or other.value is None:
        return f"{'-':>{FULL - 8}}" + " " * 8
    if figure is None or figure.value is None:
        return f"{100 * other.value:>{FULL - 8}.2f}" + " " * 8
    star = "*" if differs(figure, other) else " "
    return f"{100 * other.value:>{FULL - 8}.2f}{100 * (figure.value - other.value):>+7.2f}{star}"


def _share(figure: Figure) -> str:
    """Value and standard error in percent, 13 columns."""
    value = "-" if figure.value is None else f"{100 * figure.value:.2f}"
    error = "" if figure.standard_error is None else f"{100 * figure.standard_error:.2f}"
    return f"{value:>7}{error:>6}"


def _average_line(average: Average, others: Sequence[Average]) -> str:
    name = average.name.replace("_", " ")
    counted = f"{average.present} of {average.total}"
    share = "no average".rjust(13) if average.figure is None else _share(average.figure)
    cells = [_published_cell(average.figure, other.figure) for other in others]
    return f"{_cut(name, 22):<23}{counted:>8}{'':16}{share}{'':7}{''.join(cells)}"


def _notes(sets: Sequence[EvalSet], results: Results, fitting: Sequence[Results],
           published: Sequence[Results]) -> list[str]:
    """What a reader has to know of the figures."""
    notes = []
    missing = [each.name for each in sets if each.key not in results.records]
    if missing:
        notes.append(f"{len(sets) - len(missing)} of {len(sets)} sets; missing: "
                     + ", ".join(missing))
    if fitting:
        notes.append("Published figures, and how much higher this model is; * by more than two "
                     "standard errors of the difference")
    if len(fitting) < len(published):
        left = ", ".join(each.name for each in list(published)[len(fitting):])
        notes.append(f"no room for {left}")
    for each in sets:
        record = results.records.get(each.key)
        if record is None:
            continue
        notes += [f"{of}{each.name}: {note}" for of, note in (
            ("", _without_small_groups(record)),
            *((f"{other.name}, ", _without_small_groups(other.records.get(each.key)))
              for other in fitting)) if note]
        if record.unreadable:
            notes.append(f"{each.name}: {record.unreadable:,} more samples cannot be read")
        ties = record.figures.get("ties")
        if ties is not None and ties.value:
            notes.append(f"{each.name}: equal scores decide {100 * ties.value:.2f} % of "
                         f"{ties.samples:,}")
    return notes


def _without_small_groups(record: SetRecord | None) -> str:
    """What the worst group is without groups of fewer than 100 samples, where that is another."""
    if record is None:
        return ""
    figure = main_figure(record)
    large = record.figures.get(f"{record.metric}_of_100", figure)
    if large.value is None or large.value == figure.value:
        return ""
    few = f"the worst group has {figure.samples} samples; " if figure.samples < FEW else ""
    return f"{few}without groups of fewer than 100 samples it is {100 * large.value:.2f} %"


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[:width - 1] + "~"
