"""Lines of a run's records that are none are kept aside, and the others stand."""

import json
from pathlib import Path

import pytest

from corekit.records import append_record, best_evaluation, cut_back, figures, read_records

STRANGE = ("\0\0\0", "# a note", '{"loss": 1}', '{"step": "3"}', "[]", "7", "\udcff")


def write(path: Path, lines: list[str]) -> Path:
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    return path


def test_strange_lines_are_kept_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [json.dumps({"step": step, "loss": 0.5}) for step in (1, 2, 3)]
    path = write(tmp_path / "metrics.jsonl",
                 [records[0], "", *STRANGE, *records[1:], '{"step": 4, "lo'])
    assert [record["step"] for record in read_records(path)] == [1, 2, 3]
    cut_back(path, 2)
    assert path.read_text().splitlines() == records[:2]
    beside = tmp_path / "metrics.jsonl.unreadable"
    assert beside.read_bytes() == write(tmp_path / "strange", [*STRANGE, ""]).read_bytes()
    assert "7 lines are no records of a run; they are in metrics.jsonl.unreadable" in caplog.text
    caplog.clear()
    cut_back(path, 2)
    assert not caplog.text


def test_a_record_goes_on_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path / "evaluations.jsonl", ['{"step": 1, "evalua'])
    for step in (2, None):
        append_record(path, {"step": step, "evaluator": "a", "metrics": {"top1": 0.5}})
    write(path, [path.read_text(), '{"step": 3}', ""])
    assert [record["step"] for record in read_records(path)] == [2, None]
    assert best_evaluation(path, "a/top1") == (0.5, 2)
    cut_back(path, 1)
    assert [record["step"] for record in read_records(path)] == [None]


def test_figures_are_percent_or_points() -> None:
    """CIDEr is a fraction above 1 at times; MME's scores are points."""
    assert figures({"top1": 0.5, "cider": 1.003, "mme_perception": 1545.25}) == (
        "top1 50.00%, cider 100.30%, mme_perception 1545.25")
