"""The printed table: averages where all sets are there, stars where a difference is large."""

from dataclasses import replace

import numpy as np
import pytest

from corekit.evaluation.figure import Figure
from corekit.evaluation.suite.report.averages import averages
from corekit.evaluation.suite.report.picture import LEFT, ROW, TOP, suite_picture
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.report.table import differs, result_table
from tests.evaluation.suite.report.known import SETS, record, results

WHOLE = {0: 0.6, 1: 0.8, 2: 0.4}


def test_an_average_is_of_all_sets_or_there_is_none() -> None:
    easy, whole = averages(SETS, results("run", WHOLE).records)
    assert (easy.name, easy.present, whole.name, whole.total) == ("easy", 2, "average", 3)
    assert easy.figure == Figure(pytest.approx(0.7), 500, pytest.approx(0.01 / 2**0.5))
    assert whole.figure == Figure(pytest.approx(0.6), 550, pytest.approx(0.01 / 3**0.5))
    easy, whole = averages(SETS, results("run", {0: 0.6, 1: 0.8}).records)
    assert easy.figure is not None
    assert (whole.present, whole.total, whole.figure) == (2, 3, None)
    unknown = averages(SETS, results("run", WHOLE, None).records)[1]
    assert unknown.figure == Figure(pytest.approx(0.6), 550, None)


def test_a_set_without_its_figure_makes_no_average() -> None:
    run = results("run", WHOLE)
    records = {**run.records, "c": record(SETS[2], 0.4, mean_r1=Figure(None, 50))}
    assert averages(SETS, records)[1].figure is None


def test_differences_of_two_standard_errors() -> None:
    own = Figure(0.5, 400, 0.025)
    assert differs(own, Figure(0.575, 400, 0.025)) is True, "2.12 of 0.035"
    assert differs(own, Figure(0.568, 400, 0.025)) is False
    assert differs(own, Figure(0.568, 400, 0.0)) is True
    assert differs(own, Figure(0.568, 0, None)) is False, "counts as sure as the own one"
    assert differs(own, Figure(0.575, 0, None)) is True
    assert differs(Figure(0.5, 400), own) is None
    assert differs(Figure(0.0, 4, 0.0), Figure(0.09, 4)) is False, "none right of four is not sure"


def test_the_table_beside_a_published_row() -> None:
    text = result_table(SETS, results("run", WHOLE), [results("paper", {0: 0.5, 1: 0.79, 2: 0.4})])
    lines = text.splitlines()
    assert lines[0].split() == ["set", "samples", "figure", "%", "s.e.", "chance", "paper"]
    assert lines[2].split() == [
        "Set", "A", "400", "top1", "60.00", "1.00", "10.0", "50.00", "+10.00*"]
    assert lines[3].split() == ["Set", "B", "100", "top1", "80.00", "1.00", "79.00", "+1.00"]
    assert lines[6].split() == ["easy", "2", "of", "2", "70.00", "0.71", "64.50", "+5.50*"]
    assert lines[7].split()[0] == "average"
    assert max(map(len, lines)) <= 100


def test_a_partial_suite_says_so() -> None:
    text = result_table(SETS, results("run", {0: 0.6, 2: 0.4}))
    assert text.splitlines()[6].split() == ["average", "2", "of", "3", "no", "average"]
    assert text.splitlines()[-1] == "2 of 3 sets; missing: Set B"


def test_rows_that_do_not_fit_are_named() -> None:
    others = [results(f"paper_{number}", WHOLE) for number in range(4)]
    text = result_table(SETS, results("run", WHOLE), others, width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "no room for paper_2, paper_3" in text
    assert "no room" not in result_table(SETS, results("run", WHOLE), others, width=140)


def test_notes_of_a_small_group_ties_and_lost_samples() -> None:
    worst = SETS[0].__class__("wilds/fmow", "FMoW", (), "classification", "worst_group_top1", 22108)
    each = record(worst, 0.0, 0.0, ties=Figure(0.25, 22108, 0.0),
                  worst_group_top1=Figure(0.0, 4, 0.0),
                  worst_group_top1_of_100=Figure(0.1527, 2593, 0.007))
    object.__setattr__(each, "unreadable", 12)
    paper = record(worst, 0.0, None, worst_group_top1_of_100=Figure(0.2, 22108))
    text = result_table([worst], Results("run", {"wilds/fmow": each}),
                        [Results("paper", {"wilds/fmow": paper})])
    assert ("FMoW: the worst group has 4 samples; without groups of fewer than 100 samples it is "
            "15.27 %") in text
    assert "paper, FMoW: without groups of fewer than 100 samples it is 20.00 %" in text
    assert "equal scores decide 25.00 % of 22,108" in text
    assert "12 more samples cannot be read" in text


def test_the_picture_shows_bars_where_the_figures_are() -> None:
    picture = suite_picture(SETS, results("run", WHOLE, None), [results("paper", {0: 0.9})])
    assert picture.dtype == np.uint8
    for number, value in enumerate((0.6, 0.8, 0.4)):
        line = picture[TOP + ROW * number + 6, LEFT:LEFT + 640]
        blue = (line == [0x9d, 0xb8, 0xd9]).all(1)
        assert np.flatnonzero(blue).max() == pytest.approx(640 * value, abs=3)
    middle = picture[TOP + ROW // 2, LEFT:LEFT + 640].astype(int)
    assert (np.abs(middle - [0xd1, 0x49, 0x5b]).sum(1) < 30).any(), "the published row's diamond"
    empty = suite_picture(SETS, Results("run", {}))
    assert empty.shape[0] < picture.shape[0]


def test_a_long_name_is_cut_within_the_picture() -> None:
    named = [replace(each, name="a long name " * 5) for each in SETS]
    picture = suite_picture(named, results("run", WHOLE))
    assert (picture[TOP:TOP + ROW * len(SETS), :4] == 255).all()
    assert (picture[TOP:TOP + ROW, :LEFT - 10] < 128).any()
