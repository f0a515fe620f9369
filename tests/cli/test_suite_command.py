"""``corekit-eval`` of many sets: on two ranks as on one, beside a training, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from corekit.files import lock
from tests.conftest import corekit_command, records, succeeded
from tests.evaluation.suite.on_disk import TABLE, write_sets


@pytest.fixture
def folder(finished_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_run / "run", tmp_path / "run", symlinks=True)
    write_sets(tmp_path / "sets")
    return tmp_path


WORDS = ("corekit-eval", "checkpoint=run", "+evaluation=datacomp", "data.root=sets",
         "evaluators.datacomp.table=sets/table.csv", "data.workers=0")


def kept(store: Path) -> dict[str, bytes]:
    return {path.parent.name + path.name: path.read_bytes() for key in TABLE
            for path in store.glob(f"*/{key}/*")}


def test_two_ranks_keep_what_one_keeps_and_show_it(folder: Path) -> None:
    one = succeeded(folder, *WORDS, "store=one")
    two = succeeded(folder, *WORDS, "store=two", ranks=2)
    assert kept(folder / "one") == kept(folder / "two")
    assert len(kept(folder / "one")) == 2 * len(TABLE)
    for output in (one, two):
        assert "average                  8 of 8" in output
    again = succeeded(folder, *WORDS, "store=one")
    assert again.count("kept from before") == len(TABLE)
    last = records(folder / "run" / "evaluations.jsonl")[-1]
    files = {path.name for path in (folder / "run" / last["files"]).iterdir()}
    assert files >= {"table.txt", "table.png", "eval_results.jsonl"}
    assert last["metrics"]["average"] == pytest.approx(
        sum(last["metrics"][key] for key in TABLE) / len(TABLE))
    compared = succeeded(folder, "corekit", "compare", "one", "two", "--table", "sets/table.csv")
    assert "+0.00" in compared


def test_features_that_were_kept_serve_other_evaluators(folder: Path) -> None:
    store = ("corekit-eval", "checkpoint=run", "+evaluation=openmoji_probe", "store=kept",
             "evaluators.knn.train_dataset.samples=40", "evaluators.knn.dataset.samples=20",
             "~evaluators.linear_probe", "data.workers=0")
    assert succeeded(folder, *store) == succeeded(folder, *store)
    assert len(list((folder / "kept").glob("*/features/*"))) == 2
    first, second = records(folder / "run" / "evaluations.jsonl")[-2:]
    assert first["metrics"] == second["metrics"]


def test_what_it_cannot_do_is_one_sentence(folder: Path) -> None:
    (folder / "file").write_text("")
    succeeded(folder, *WORDS, "sets=[plain]")
    (store,) = (folder / "run" / "evaluations" / "suite").iterdir()
    with lock(store / "lock", 0):
        for words, sentence in (
                ((), "another corekit-eval of these weights is at work in"),
                (("sets=[plian]", ), "no evaluation set fits 'plian'"),
                (("evaluators.datacomp.table=nope", ), "there is no table of evaluation sets"),
                (("published=[nope/x]", ), "'nope/x' is no file or folder with results"),
                (("store=file/inside", ), "file/inside/")):
            done = corekit_command(*WORDS, *words, folder=folder)
            assert done.returncode == 2
            assert sentence in done.stderr
            assert "Traceback" not in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1


def test_a_set_of_another_size_is_refused_before_torch_is_imported(folder: Path) -> None:
    (folder / "sets" / "plain_test" / "test" / "1.tar").unlink()
    program = (f"import sys; sys.argv = {list(WORDS)!r}\nfrom corekit.cli.evaluate import main\n"
               "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=folder)
    assert done.returncode == 2
    assert "'plain' (plain_test) has 6 samples, but its table says 12" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_evaluates_a_suite(folder: Path) -> None:
    output = succeeded(folder, "corekit-train", "+recipe=mobileclip/quickstart", "engine.steps=2",
                       "engine.batch_size=16", "engine.micro_batch=16", "schedule.warmup_steps=1",
                       "data.workers=0", "~evaluators.zero_shot",
                       "+evaluators.many={name: suite, table: sets/table.csv, root: sets}",
                       "run_dir=trained")
    assert "many on 62 samples of table: average" in output
    last = records(folder / "trained" / "evaluations.jsonl")[-1]
    assert set(last["metrics"]) >= set(TABLE)
    assert not (folder / "trained" / "evaluations" / "suite").exists()
    events = EventAccumulator(str(folder / "trained" / "tensorboard"))
    assert "many/sets" in events.Reload().Tags()["images"]
