"""From shards to a vocabulary, labels, pre-training and another task by the README's commands, on one rank and on two."""

import json
from pathlib import Path

import pytest

from tests.conftest import corekit_command

STEPS = ("engine.batch_size=8", "engine.micro_batch=4", "data.lanes=4", "data.workers=1", "schedule.warmup_steps=1",
         "log.every_steps=1", "checkpoint.every_steps=null")
PRETRAINING = ("corekit-train", "+recipe=catlip/quickstart", "data.root=scenes", "~data.dataset.dataset", *STEPS,
               "data.dataset={name: stored_labels, labels: labels, vocabulary: nouns/vocabulary.tsv}", "engine.steps=3",
               "~evaluators.linear_probe", "evaluators.multi_label.dataset.vocabulary=nouns/vocabulary.tsv",
               "evaluators.multi_label.dataset.dataset.samples=16")
TRANSFER = ("corekit-train", "+recipe=catlip/transfer_quickstart", "data.dataset.samples=64", *STEPS, "engine.steps=2",
            "evaluators.classification.dataset.samples=16", "init.path=runs/one")


def run(folder: Path, *words: str, ranks: int = 1) -> str:
    done = corekit_command(*words, folder=folder, ranks=ranks)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_from_shards_to_another_task(tmp_path: Path) -> None:
    run(tmp_path, "corekit", "data", "openmoji", "scenes", "--samples", "96", "--size", "64")
    run(tmp_path, "corekit", "data", "vocabulary", "scenes", "nouns", "threshold=0")
    run(tmp_path, "corekit", "data", "label", "scenes", "labels", "vocabulary=nouns/vocabulary.tsv")
    classes = len((tmp_path / "nouns/vocabulary.tsv").read_text().splitlines()) - 1
    wide = (*PRETRAINING, f"model.num_classes={classes}")
    said = run(tmp_path, *wide, "run_dir=runs/one")
    assert "multi_label: " in said
    run(tmp_path, *wide, "run_dir=runs/two", ranks=2)
    assert losses(tmp_path / "runs/two") == pytest.approx(losses(tmp_path / "runs/one"), rel=2e-5)
    for ranks in (1, 2):
        said = run(tmp_path, *TRANSFER, f"run_dir=runs/task{ranks}", ranks=ranks)
        assert "rows of the head" in said
    head = (tmp_path / "runs/task1/head.tsv").read_text()
    assert head == (tmp_path / "runs/task2/head.tsv").read_text()
    assert "name" in {line.split("\t")[2] for line in head.splitlines()[1:]} | set(head.split())
    assert losses(tmp_path / "runs/task2") == pytest.approx(losses(tmp_path / "runs/task1"), rel=2e-5)
