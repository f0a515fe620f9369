"""A step once more: the loss that the run logged, to the bit, and what each sample had of it."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from corekit import CorekitError
from corekit.cli.train import open_source
from corekit.recipes.saved import load_config
from corekit.train.replay import ReplayedStep, replay
from tests import plain
from tests.conftest import corekit_command, records

SMALL = ("engine.steps=4", "engine.batch_size=8", "engine.micro_batch=4", "data.streams=4",
         "data.window=4", "data.workers=0", "schedule.warmup_steps=1", "log.every_steps=1",
         "checkpoint.every_steps=2", "checkpoint.keep_last=9", "evaluators={}")


def step_of(run: Path, step: int) -> ReplayedStep:
    config = load_config(run / "recipe.yaml")
    return replay(config, run, open_source(config), step)


def files_of(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("recipe", ["mobileclip/quickstart", "catlip/quickstart",
                                    "aimv2/quickstart"])
def test_a_step_is_the_logged_one_to_the_bit_and_the_mean_of_its_samples(
        recipe: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    own = ("model.drop_path_rate=0.5",) if recipe == "mobileclip/quickstart" else ()
    recipe_now = plain.compose(f"+recipe={recipe}", *SMALL, *own, f"run_dir={run}")
    plain.train({**recipe_now, "evaluators": {}})
    before = files_of(run)
    for step, logged in enumerate(records(run / "metrics.jsonl"), 1):
        replayed = step_of(run, step)
        assert replayed.loss == replayed.logged == logged["loss"]
        assert len(replayed.losses) == len(set(replayed.batch["key"])) == 8
        if recipe != "aimv2/quickstart":  # whose captions differ in length: means of words
            assert sum(replayed.losses) / 8 == pytest.approx(logged["loss"], rel=1e-5)
        assert max(replayed.losses) > min(replayed.losses)
    assert files_of(run) == before


def test_the_command_shows_the_samples_and_says_when_one_is_seen(finished_run: Path,
                                                                 tmp_path: Path) -> None:
    shutil.copytree(finished_run / "run", tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step_00000002")
    done = corekit_command("corekit", "replay", "run", "4", "--samples", "5", "--picture", "p.png",
                           folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "no checkpoint of step 3 is kept: training steps 1 to 3 again"
    assert lines[1].startswith("step 4: loss ")
    assert lines[1].endswith("the same to the bit)")
    losses = [float(line.split()[0]) for line in lines[2:7]]
    assert losses == sorted(losses, reverse=True)
    assert "27 more" in lines[7]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 600

    key = lines[2].split()[1]
    done = corekit_command("corekit", "data", "seen", "run", key, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  step 4, stream \d$", done.stdout, re.MULTILINE)


def test_a_step_before_every_checkpoint_starts_from_the_weights_that_the_run_did(
        finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = plain.compose("+recipe=mobileclip/quickstart", *SMALL, f"run_dir={run}",
                           f"init.path={finished_run}/run", "model.vocab_size=4096",
                           "data.tokenizer.vocab_size=4096")
    plain.train({**recipe, "evaluators": {}})
    assert step_of(run, 1).loss == records(run / "metrics.jsonl")[0]["loss"]


@pytest.mark.parametrize(("words", "sentence"), [
    (["replay", "run", "5"], "step 5 is none of run, which has steps 1 to 4"),
    (["replay", "run", "0"], "step 0 is none of run"),
    (["replay", "nowhere", "1"], "nowhere is no run directory: it has no recipe.yaml"),
    (["replay", "run", "1", "--picture", "no/p.png"], "it needs a folder that is there"),
    (["data", "seen", "run", "me"], "has the key 'me'; `corekit replay run 1` shows"),
])
def test_what_cannot_be_shown_is_said(finished_run: Path, words: list[str], sentence: str) -> None:
    done = corekit_command("corekit", *words, folder=finished_run)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_other_data_are_refused(finished_run: Path) -> None:
    config = load_config(finished_run / "run" / "recipe.yaml")
    source = open_source(config)
    source.fingerprint = "another"
    with pytest.raises(CorekitError, match="was trained on other data"):
        replay(config, finished_run / "run", source, 1)
