"""``corekit compare``: from kept predictions, from published rows, and what it says of them."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from corekit import CorekitError
from corekit.cli.main import main, make_parser
from corekit.evaluation.metrics.classification import classification_figures
from corekit.evaluation.suite.report.results import find_store, read_store
from corekit.evaluation.suite.sets import known_sets, picked
from corekit.evaluation.suite.store import RECORD, SetRecord, keep, set_folder


def keep_suite(store: Path, chance: float, seed: int, data: str = "d", weights: str = "w") -> None:
    """Two sets of a model that is right about so often, more so on samples that are easy."""
    for each in picked(known_sets(), ["*kitti*", "wilds/fmow"]):
        samples, classes = 600, each.classes or 10
        draws, same = np.random.default_rng(seed), np.random.default_rng(9)
        label, easy = same.integers(0, classes, samples), same.random(samples)
        right = draws.random(samples) * 0.4 + 0.6 * (1 - easy) < chance
        best = np.stack([(label + ~right + place) % classes for place in range(min(5, classes))], 1)
        predictions = {"label": label, "best": best, "tied": right & False,
                       "classes": np.array(classes), "metadata": same.integers(0, 3, (samples, 1))}
        hashes = {"weights": weights, "data": data, "names": "n", "templates": "t",
                  "preprocess": "p", "precision": "fp32"}
        keep(store, SetRecord(each.key, each.name, each.task, each.metric,
                              classification_figures(predictions, each.group), samples, 0, hashes),
             predictions)


def compare(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    options = make_parser(entries=False).parse_args(["compare", *map(str, words)])
    options.run(options)
    return capsys.readouterr().out.splitlines()


def test_runs_are_compared_sample_by_sample(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    keep_suite(tmp_path / "one" / "evaluations" / "suite" / "abc", 0.5, seed=1)
    keep_suite(tmp_path / "two.evaluations" / "suite" / "def", 0.6, seed=2)
    (tmp_path / "two").mkdir()
    lines = compare(capsys, tmp_path / "one", tmp_path / "two")
    kitti, fmow = (next(line for line in lines if line.startswith(name))
                   for name in ("KITTI", "FMoW"))
    assert kitti.split()[-1] == "McNemar"
    assert fmow.split()[-1] == "paired"
    assert "*" in kitti
    record = json.loads((tmp_path / "one/evaluations/suite/abc/wilds-fmow" / RECORD).read_text())
    assert f"{100 * record['figures']['worst_group_top1']['value']:.2f}" in fmow
    text = " ".join(" ".join(lines).split())
    assert "average no average: 2 of 38 sets" in text
    assert "By Holm's rule for all of them together, 2 differ (*): KITTI" in text
    assert "A and B have other" not in text
    assert max(map(len, lines[2:])) <= 100


def test_a_model_against_itself_differs_nowhere(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    keep_suite(tmp_path, 0.5, seed=1)
    lines = compare(capsys, tmp_path, tmp_path)
    assert [line.split()[-2] for line in lines if "McNemar" in line.split()[-1:]] == ["1.000"]
    assert "0 differ (*)" in " ".join(" ".join(lines).split())


def test_other_data_are_said_and_not_paired(tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    keep_suite(tmp_path / "a", 0.5, seed=1)
    keep_suite(tmp_path / "b", 0.6, seed=2, data="other")
    lines = compare(capsys, tmp_path / "a", tmp_path / "b")
    assert all(line.endswith("unpaired") for line in lines if line.startswith(("KITTI", "FMoW")))
    text = " ".join(" ".join(lines).split())
    assert "A and B have other data of all sets: what differs is not the models alone" in text


def test_a_run_beside_a_published_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_suite(tmp_path, 0.5, seed=1)
    lines = compare(capsys, "mobileclip/mobileclip_s1", tmp_path)
    (kitti, ) = (line for line in lines if line.startswith("KITTI"))
    assert kitti.split()[4] == "24.19"
    assert kitti.endswith("unpaired")
    text = " ".join(" ".join(lines).split())
    assert "for want of both models' predictions of the same samples" in text
    assert "A alone has vtab/caltech101, cifar10" in text


def test_published_rows_have_an_average(capsys: pytest.CaptureFixture[str]) -> None:
    lines = compare(capsys, "mobileclip/mobileclip_s0", "mobileclip/mobileclip_s2")
    (average, ) = (line for line in lines if line.startswith("average"))
    assert average.split() == ["average", "38", "sets", "58.12", "63.66", "+5.54"]


def test_the_newest_of_several_models_is_taken(tmp_path: Path) -> None:
    for name, age in (("old", 100), ("new", 0)):
        store = tmp_path / "evaluations" / "suite" / name
        keep_suite(store, 0.5, seed=1)
        for record in store.glob(f"*/{RECORD}"):
            os.utime(record, (1e9 - age, 1e9 - age))
    store = find_store(tmp_path)
    assert store is not None
    assert store.name == "new"
    assert find_store(tmp_path / "evaluations" / "suite" / "old") == tmp_path.joinpath(
        "evaluations", "suite", "old")
    assert find_store(tmp_path / "nothing") is None


@pytest.mark.parametrize("store", ["", "abc", "suite/abc", "evaluations/suite/abc",
                                   "../name.evaluations/suite/abc"])
def test_places_that_mean_a_store(store: str, tmp_path: Path) -> None:
    """As typed, above several models, and where ``corekit-eval`` keeps what it needs."""
    keep_suite(tmp_path / "name" / store, 0.5, seed=1)
    place = find_store(tmp_path / "name")
    assert place is not None
    assert place.resolve() == (tmp_path / "name" / store).resolve()


def test_damaged_stores_are_one_sentence(tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    keep_suite(tmp_path, 0.5, seed=1)
    folder = set_folder(tmp_path, "wilds/fmow")
    (folder / "predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(CorekitError, match=r"predictions\.npz cannot be read .* evaluate wilds/"):
        compare(capsys, tmp_path, tmp_path)
    (folder / RECORD).write_text('{"key": "wilds/fmow"}')
    with pytest.raises(CorekitError, match=r"record\.json is no record of an evaluation set"):
        read_store(tmp_path, "run")


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorekitError, match="means 14 models .*: name one, as in mobileclip/"):
        compare(capsys, "mobileclip", "mobileclip/mobileclip_s2")
    other = tmp_path / "other.csv"
    other.write_text("key,figure,mine\nown/set,top1,0.5\n")
    with pytest.raises(CorekitError, match="have no evaluation set in common"):
        compare(capsys, "mobileclip/mobileclip_s0", other)


def test_the_command_ends_with_status_2(monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["corekit", "compare", "nothing", "mobileclip"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("corekit: 'nothing' is no file or folder")
