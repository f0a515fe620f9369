"""Other people's files, read and written."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from corekit import CorekitError
from corekit.evaluation.base import write_files
from corekit.evaluation.figure import Figure
from corekit.evaluation.metrics.classification import classification_figures
from corekit.evaluation.suite.report.export import clip_benchmark_files, eval_results, report_files
from corekit.evaluation.suite.report.formats import read_file
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import known_sets, picked
from corekit.evaluation.suite.store import SetRecord

# as DataComp writes them: NaN for groups without samples, null for top-5 of four classes
LINES = """\
{"key": "vtab/kitti_closest_vehicle_distance", "dataset": "KITTI Vehicle Distance", "metrics": \
{"acc1": 0.21, "acc5": null, "mean_per_class_recall": 0.28, "main_metric": 0.21}}
{"key": "misc/winogavil", "dataset": "WinoGAViL", "metrics": {"avg_jaccard_score": 0.55, \
"jaccard_score_5-6": 0.57, "jaccard_score_10-12": 0.48, "main_metric": 0.48}}
{"key": "wilds/fmow", "dataset": "FMoW", "metrics": {"acc1": 0.198, "acc_avg": 0.198, \
"acc_year:0": NaN, "count_year:0": 0.0, "acc_region:0": 0.17247632145881653, \
"count_region:0": 4963.0, "acc_region:2": 0.15271885693073273, "count_region:2": 2593.0, \
"acc_region:5": 0.0, "count_region:5": 4.0, "acc_region:6": NaN, "count_region:6": 0.0, \
"acc_worst_region": 0.0, "main_metric": 0.0}}
{"key": "fairness/fairface", "dataset": "FairFace", "metrics": {"acc_race_avg": 0.88, \
"main_metric": null}}
"""


def one(path: Path) -> Results:
    (results, ) = read_file(path, known_sets())
    return results


def test_datacomps_lines(tmp_path: Path) -> None:
    path = tmp_path / "eval_results.jsonl"
    path.write_text(LINES)
    records = one(path).records
    assert list(records) == ["vtab/kitti_closest_vehicle_distance", "misc/winogavil", "wilds/fmow"]
    kitti, winogavil, fmow = records.values()
    assert kitti.figures["top1"] == Figure(0.21, 711, pytest.approx((.21 * .79 / 711)**0.5))
    assert kitti.figures["top5"].value is None
    assert (winogavil.value, winogavil.figures["jaccard_5_6"].value) == (0.48, 0.57)
    assert fmow.figures["worst_group_top1"] == Figure(0.0, 4, 0.0)
    assert fmow.figures["worst_group_top1_of_100"].samples == 2593
    assert fmow.figures["top1_group_0"].value == 0.17247632145881653
    assert "top1_group_6" not in fmow.figures, "a group without samples"


def test_clip_benchmarks_files_with_bare_nan(tmp_path: Path) -> None:
    metrics = '{"acc1": 0.5, "acc5": NaN, "mean_per_class_recall": 0.4}'
    for name, dataset in (("a", "wds/vtab/pcam"), ("b", "renderedsst2"), ("c", "unknown")):
        (tmp_path / f"{name}.json").write_text(
            f'{{"dataset": "{dataset}", "model": "ViT-B-32", "pretrained": "openai", '
            f'"task": "zeroshot_classification", "metrics": {metrics}, "language": "en"}}')
    results = one(tmp_path)
    assert results.name == "ViT-B-32 openai"
    assert list(results.records) == ["vtab/pcam", "renderedsst2"]
    assert results.records["vtab/pcam"].figures["top5"].value is None
    retrieval = ('{"image_retrieval_recall@1": 0.4, "text_retrieval_recall@1": 0.6, '
                 '"image_retrieval_recall@5": 0.7, "text_retrieval_recall@5": 0.8}')
    path = tmp_path / "d.json"
    path.write_text(f'{{"dataset": "wds/flickr30k", "model": "m", "pretrained": "p", '
                    f'"metrics": {retrieval}, "language": "cn"}}')
    results = one(path)
    (record, ) = results.records.values()
    assert results.name == "m p cn"
    assert record.key == "retrieval/flickr_1k_test_image_text_retrieval"
    assert record.figures["text_to_image_r1"].value == 0.4
    assert record.value == 0.5, "the mean of both, which CLIP_benchmark does not write"


def test_open_clips_csv_by_display_names(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("name,pretrained,params (M),Average perf. on 38 datasets,ImageNet 1k,SVHN\n"
                    "RN50,openai,102.01,0.4810,0.5982,0.2883\nRN50,cc12m,102.01,,,0.0923\n")
    openai, cc12m = read_file(path, known_sets())
    assert (openai.name, cc12m.name) == ("RN50 openai", "RN50 cc12m")
    assert {key: each.value for key, each in openai.records.items()
            } == {"imagenet1k": 0.5982, "vtab/svhn": 0.2883}
    assert list(cc12m.records) == ["vtab/svhn"]


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("a.jsonl", LINES[:300], r"a\.jsonl, line 2 is no JSON .*: it may be cut off"),
    ("a.jsonl", '{"key": "cifar10"}\n', "line 1 has no metrics as files of figures do"),
    ("a.jsonl", '{"key": "cifar10", "metrics": 3}\n', "has no mapping of metrics"),
    ("a.jsonl", '{"key": "cifar10", "metrics": {"acc1": "much"}}\n', "acc1 is 'much', which is no"),
    ("a.jsonl", '{"key": "unknown", "metrics": {}}\n', "figures of none of the"),
    ("a.json", '{"dataset": "cifar10", "metrics": {}, "model": "m"}', "has no pretrained"),
    ("a.json", "[1, 2]", "has no dataset"),
    ("a.csv", "model,score\nx,0.5\n", "has the columns model, score ..., but open_clip's"),
    ("a.csv", "name,pretrained,SVHN\nx,y\n", "line 2 has not as many cells"),
    ("a.csv", "name,pretrained,SVHN\nx,y,z\n", "line 2: SVHN is 'z', which is no number"),
    ("a.csv", "", "has the columns"),
    ("a.pkl", "", "has no figures that can be read"),
])
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, content: str,
                                        sentence: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(CorekitError, match=sentence) as raised:
        read_file(path, known_sets())
    assert "\n" not in str(raised.value)


def own_results() -> Results:
    """Of four sets, with groups and without a top-5."""
    draws = np.random.default_rng(0)
    records = {}
    for each in picked(known_sets(), ["*kitti*", "wilds/fmow", "fairness/dollar*", "*flickr*"]):
        if each.task == "retrieval":
            figures = {f"{name}_r{k}": Figure(draws.random(), 1000) for k in (1, 5, 10)
                       for name in ("image_to_text", "text_to_image")}
            first = [figures[f"{name}_r1"].value for name in ("image_to_text", "text_to_image")]
            figures["mean_r1"] = Figure(sum(first) / 2, 1000)
        else:
            classes = each.classes or 10
            best = np.argsort(draws.random((500, classes)))[:, :5]
            figures = classification_figures({
                "label": draws.integers(0, classes, 500), "best": best, "tied": best[:, 0] < 0,
                "classes": np.array(classes), "metadata": draws.integers(0, 4, (500, 1))},
                each.group)
        records[each.key] = SetRecord(each.key, each.name, each.task, each.metric, figures, 500)
    return Results("run", records)


def read_back(results: Results, path: Path) -> None:
    again = one(path).records
    assert again.keys() == results.records.keys()
    for key, record in results.records.items():
        ours = {name: figure.value for name, figure in record.figures.items() if name != "ties"}
        theirs = {name: figure.value for name, figure in again[key].figures.items()}
        assert {name: theirs.get(name) for name in ours} == ours
        assert theirs.keys() <= ours.keys()
        assert again[key].metric == record.metric


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    results, sets = own_results(), known_sets()
    path = tmp_path / "eval_results.jsonl"
    path.write_text(eval_results(sets, results))
    read_back(results, path)
    write_files(tmp_path / "files", clip_benchmark_files(sets, results, "ours", "run"))
    read_back(results, tmp_path / "files")
    fmow = next(json.loads(line) for line in path.read_text().splitlines() if "FMoW" in line)
    assert fmow["key"] == "wilds/fmow"
    metrics = fmow["metrics"]
    assert metrics["main_metric"] == metrics["acc_worst_region"] == min(
        metrics[f"acc_region:{number}"] for number in range(4))
    assert sum(metrics[f"count_region:{number}"] for number in range(4)) == 500


def build(base: SimpleNamespace) -> None:
    """The loop of clip_benchmark 1.6.2's main_build, where the package is not installed."""
    rows = []
    for path in Path(base.files[0]).glob("*.json"):
        content = json.loads(path.read_text())
        rows.append({**content.pop("metrics"), **content,
                     "model_fullname": content["model"] + " " + content["pretrained"]})
    with open(base.output, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames={name for row in rows for name in row})
        writer.writeheader()
        writer.writerows(rows)


def test_build_of_clip_benchmark_takes_the_report(tmp_path: Path) -> None:
    results, folder = own_results(), tmp_path / "report"
    write_files(folder, report_files(known_sets(), results, [], "ours", "run"))
    try:
        from clip_benchmark.cli import main_build
    except ImportError:
        main_build = build
    main_build(SimpleNamespace(files=[str(folder)], output=str(tmp_path / "benchmark.csv")))
    read_back(results, tmp_path / "benchmark.csv")
    assert (folder / "table.txt").read_text().startswith("set ")
    with Image.open(folder / "table.png") as picture:
        assert picture.format == "PNG"
