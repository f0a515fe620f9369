"""From shards to a vocabulary, labels, pre-training and another task by the README's commands, on
one rank and on two.
"""

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


def test_from_shards_to_another_task(tmp_path: Path) -> None:
    open_wordnet()  # without it, what is said is that
    succeeded(tmp_path, "corekit", "data", "openmoji", "scenes", "--samples", "96", "--size", "64")
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
