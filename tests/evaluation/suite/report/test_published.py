"""Published rows: their averages are those that are published of them."""

import csv
import math
from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.evaluation.suite.report import published
from corekit.evaluation.suite.report.averages import averages
from corekit.evaluation.suite.report.published import find_results
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import known_sets, read_table

# over 38 sets, recomputed from the files beside ml-mobileclip's code
AVERAGES = {
    "mobileclip_s0": 0.5811701239717533, "mobileclip_s1": 0.6125413135002757,
    "mobileclip_s2": 0.6365680885974389, "mobileclip_b": 0.6515349763925595,
    "mobileclip_b_lt": 0.6577891340056974, "mobileclip_s3": 0.6633464822716298,
    "mobileclip_l14": 0.6693501431886004, "mobileclip_s4": 0.6811030052880773,
    "mobileclip2_s0": 0.596729607109082, "mobileclip2_s2": 0.6405067112408352,
    "mobileclip2_b": 0.6575701971000566, "mobileclip2_s3": 0.6684785898479638,
    "mobileclip2_l14": 0.6780438615248114, "mobileclip2_s4": 0.6754673729034074,
}
GROUPS = {  # DataComp's aggregate_scores.py: distribution shifts, VTAB, retrieval
    "mobileclip_s0": (0.5505379303901333, 0.5842974210754875, 0.5823235917084058),
    "mobileclip_s2": (0.6312822057632811, 0.6372866121981743, 0.6123536283839329),
}


def means(results: Results) -> dict[str, float]:
    of_table = averages(read_table("datacomp"), results.records)
    return {each.name: each.figure.value for each in of_table
            if each.figure is not None and each.figure.value is not None}


def test_the_14_averages_of_mobileclip() -> None:
    rows = find_results("mobileclip", known_sets())
    actual = {each.name: means(each) for each in rows}
    assert actual.keys() == AVERAGES.keys()
    for name, average in AVERAGES.items():
        assert actual[name]["average"] == pytest.approx(average, abs=1e-15)
    for name, (shifts, vtab, retrieval) in GROUPS.items():
        assert [actual[name][each] for each in ("imagenet_shifts", "vtab", "retrieval")
                ] == pytest.approx([shifts, vtab, retrieval], abs=1e-15)


def test_the_121_rows_of_open_clip() -> None:
    """Their columns have four decimals, so that an average is within 6e-5."""
    with open(Path(published.__file__).with_name("open_clip.csv"), encoding="utf-8") as file:
        claimed = {f"{row['name']} {row['pretrained']}": float(row["Average perf. on 38 datasets"])
                   for row in csv.DictReader(file)}
    rows = find_results("open_clip", known_sets())
    assert len(rows) == len(claimed) == 121
    for each in rows:
        assert means(each)["average"] == pytest.approx(claimed[each.name], abs=6e-5)
    zero = [each.name for each in rows if each.records["wilds/fmow"].value == 0]
    assert len(zero) == 31, "a worst region of 4 pictures"


def test_both_rules_of_fmow() -> None:
    """Of MobileCLIP-S1, none of the 4 pictures of region 5 is right: 61.25 % or 61.66 %."""
    (s1, ) = find_results("mobileclip/mobileclip_s1", known_sets())
    figures = s1.records["wilds/fmow"].figures
    assert figures["worst_group_top1"].value == 0
    large = figures["worst_group_top1_of_100"].value
    assert large == pytest.approx(0.15271885693073273)
    assert large is not None
    assert round(100 * (AVERAGES["mobileclip_s1"] + large / 38), 2) == 61.66


def test_other_sets_are_there_but_not_in_the_average() -> None:
    (row, ) = find_results("mobileclip/mobileclip2_s0", known_sets())
    assert row.records["comp/sugarcrepe_add_att"].value == 0.7832369804382324
    assert row.records["longclip/urban1k"].value == 0.4364999979734421
    assert len([key for key in row.records if key.startswith(("comp/", "longclip/"))]) == 10


@pytest.mark.parametrize(("word", "sentence"), [
    ("mobileclip/mobileclip_s5", "reference 'mobileclip' has no model 'mobileclip_s5' "
     r"\(did you mean 'mobileclip_s."),
    ("mobilclip", r"published row \(did you mean 'mobileclip'\?\)"),
    ("no/such/folder", "is no file or folder with results of evaluation sets"),
])
def test_what_is_not_there(word: str, sentence: str) -> None:
    with pytest.raises(CorekitError, match=sentence):
        find_results(word, known_sets())


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    path.write_text("key,figure,small,large\ncifar10,top1,0.5,0.75\nmine/set,jaccard,,0.25\n")
    small, large = find_results(str(path), known_sets())
    assert {key: each.value for key, each in small.records.items()} == {"cifar10": 0.5}
    assert {key: each.value for key, each in large.records.items()
            } == {"cifar10": 0.75, "mine/set": 0.25}
    assert large.records["cifar10"].figures["top1"].standard_error == pytest.approx(
        math.sqrt(.75 * .25 / 10000))


def test_a_project_of_ones_own_adds_its_rows(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "published_rows_test"
    (project / "recipes").mkdir(parents=True)
    (project / "rows.csv").write_text("key,figure,small\ncifar10,top1,0.5\n")
    (project / "rows.py").write_text(
        "from pathlib import Path\n\nfrom corekit.registry import register\n\n\n"
        '@register("reference", "own_rows")\ndef own_rows() -> Path:\n    """Rows of our own."""\n'
        '    return Path(__file__).with_name("rows.csv")\n')
    monkeypatch.setenv("COREKIT_PROJECTS", str(project))
    (row, ) = find_results("own_rows/small", known_sets())
    assert row.records["cifar10"].value == 0.5
    with pytest.raises(CorekitError, match="mobileclip, open_clip, own_rows"):
        find_results("nothing", known_sets())
