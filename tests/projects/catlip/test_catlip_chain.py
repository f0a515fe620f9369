"""From shards to a vocabulary, labels, pre-training, another task, objects and pixels by the
READMEs' commands, on one rank and on two.
"""

import tarfile
from pathlib import Path

import pytest
from corekit_projects.catlip.wordnet import open_wordnet

from tests.conftest import losses, succeeded

STEPS = ("engine.batch_size=8", "engine.micro_batch=4", "data.streams=4", "data.workers=1",
         "schedule.warmup_steps=1", "log.every_steps=1", "checkpoint.every_steps=null")
PRETRAINING = ("corekit-train", "+recipe=catlip/quickstart", "data.root=scenes",
               "~data.dataset.dataset", *STEPS,
               "data.dataset={name: stored_labels, labels: labels, vocabulary: "
               "nouns/vocabulary.tsv}", "engine.steps=3", "~evaluators.linear_probe",
               "evaluators.multi_label.dataset.vocabulary=nouns/vocabulary.tsv",
               "evaluators.multi_label.dataset.dataset.samples=16")
TRANSFER = ("corekit-train", "+recipe=catlip/transfer_quickstart", "data.dataset.samples=64",
            *STEPS, "engine.steps=2", "evaluators.classification.dataset.samples=16",
            "init.path=runs/one")
FIELDS = {"detection": "boxes: json, masks: json, box_labels: json, iscrowd: json",
          "segmentation": "segmentation: png"}
CLASSES = {"detection": 200, "segmentation": 201}


def dense(task: str, *words: str) -> tuple[str, ...]:
    """The command that trains on the objects or the pixels of the same shards."""
    return ("corekit-train", f"+recipe=catlip/{task}_quickstart", "init.path=runs/one",
            "data.root=scenes", "data.preprocess.size=64", f"model.num_classes={CLASSES[task]}",
            "data.dataset={name: webdataset, fields: {image: jpg, " + FIELDS[task] + "}}",
            *(f"~data.dataset.{name}" for name in ("samples", "concepts", "annotations")),
            *(["~data.dataset.size"] if task == "detection" else []), *STEPS, "engine.steps=2",
            f"evaluators.{task}.dataset.samples=4", f"evaluators.{task}.dataset.concepts=200",
            *words)


def test_from_shards_to_another_task(tmp_path: Path) -> None:
    open_wordnet()  # without it, what is said is that
    succeeded(tmp_path, "corekit", "data", "shards", "openmoji", "scenes", "samples=96", "size=64",
              "annotations=true")
    succeeded(tmp_path, "corekit", "data", "vocabulary", "scenes", "nouns", "threshold=0")
    succeeded(tmp_path, "corekit", "data", "label", "scenes", "labels",
              "vocabulary=nouns/vocabulary.tsv")
    classes = len((tmp_path / "nouns/vocabulary.tsv").read_text().splitlines()) - 1
    wide = (*PRETRAINING, f"model.num_classes={classes}")
    output = succeeded(tmp_path, *wide, "run_dir=runs/one")
    assert "multi_label: " in output
    succeeded(tmp_path, *wide, "run_dir=runs/two", ranks=2)
    assert losses(tmp_path / "runs/two") == pytest.approx(losses(tmp_path / "runs/one"), rel=2e-5)
    for ranks in (1, 2):
        output = succeeded(tmp_path, *TRANSFER, f"run_dir=runs/task{ranks}", ranks=ranks)
        assert "rows of the head" in output
    head = (tmp_path / "runs/task1/head.tsv").read_text()
    assert head == (tmp_path / "runs/task2/head.tsv").read_text()
    named = [line.split("\t")[4] != "" for line in head.splitlines()[1:]]
    assert len(named) == 200
    assert sum(named) > 60, "96 scenes name many of the classes"
    assert losses(tmp_path / "runs/task2") == pytest.approx(losses(tmp_path / "runs/task1"),
                                                            rel=2e-5)
    with tarfile.open(tmp_path / "scenes" / "000000.tar") as archive:
        picture = next(member for member in archive if member.name.endswith(".jpg"))
        archive.extract(picture, tmp_path, filter="data")
    for task in FIELDS:
        for ranks in (1, 2):
            succeeded(tmp_path, *dense(task, f"run_dir=runs/{task}{ranks}"), ranks=ranks)
        assert losses(tmp_path / f"runs/{task}2") == pytest.approx(
            losses(tmp_path / f"runs/{task}1"), rel=2e-5)
        succeeded(tmp_path, "corekit", "predict", f"runs/{task}1", picture.name, "--out",
                  f"predicted/{task}")
        assert (tmp_path / "predicted" / task / picture.name.replace(".jpg", ".json")).is_file()
