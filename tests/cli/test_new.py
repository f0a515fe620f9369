"""``corekit new``: what it writes trains, is found by name, is short, and is written whole or not
at all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import free_port

import corekit
from corekit.cli.new import new_project
from corekit.projects import find_projects
from tests.conftest import corekit_command, losses

SHRUNKEN = ("+recipe=demo/first", "engine.steps=4", "engine.micro_batch=16",
            "schedule.warmup_steps=2", "log.every_steps=1", "run_dir=run")
SPAWNING = ("import multiprocessing\nfrom corekit.cli.train import main\n"
            "if __name__ == '__main__':\n    multiprocessing.set_start_method('spawn')\n    "
            "main()\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where a project was begun and its recipe trained for four steps."""
    folder = tmp_path_factory.mktemp("new")
    begun = corekit_command("corekit", "new", "demo", folder=folder)
    assert begun.returncode == 0, begun.stderr
    assert "corekit-train +recipe=demo/first" in begun.stdout
    done = corekit_command("corekit-train", *SHRUNKEN, "data.workers=0", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_project_is_under_seventy_lines_and_clean(trained: Path) -> None:
    folder = trained / "projects" / "demo"
    assert sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*.*")
        if "__pycache__" not in path.parts) == [
            "README.md", "data.py", "model.py", "recipes/first.yaml"
        ]
    lines = [line for path in folder.rglob("*.*") if path.suffix in (".py", ".yaml")
             for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < 70
    assert not [line for line in lines if "NAME" in line or len(line) > 100]


def test_its_entries_are_listed_and_shown(trained: Path) -> None:
    for kind in ("model", "loss", "dataset", "sampler"):
        listed = corekit_command("corekit", "list", kind, "demo_*", folder=trained)
        assert len(listed.stdout.split()) == 1, listed.stderr
    shown = corekit_command("corekit", "show", "model", "demo_towers", folder=trained)
    assert "model.py:" in shown.stdout
    assert "width: int = 64" in shown.stdout


def test_its_recipe_trains_and_is_evaluated(trained: Path) -> None:
    values = losses(trained / "run")
    # near log(64) = 4.2 at first: 64 captions, none preferred
    assert values[:1] == pytest.approx([4.3], abs=0.3)
    assert values[3] < values[0]
    record = json.loads((trained / "run" / "evaluations.jsonl").read_text())
    assert record["evaluated"] == 500
    assert 0 <= record["metrics"]["top1"] <= record["metrics"]["top5"] <= 1


def test_its_model_is_a_plain_module(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    model = corekit.create_model("demo_towers", width=8)
    outputs = model(torch.rand(3, 3, 32, 32), torch.zeros(3, 8, dtype=torch.int64))
    assert {name: value.shape for name, value in outputs.items()} == dict.fromkeys(
        ("image_features", "text_features"), (3, 8))
    saved, _, tokenize = corekit.load("run")
    assert torch.equal(saved.encode_text(tokenize("a red disc")),
                       saved.encode_text(tokenize(["a "
                                                   "red "
                                                   "disc"])))


def test_ranks_with_spawned_workers_train_it_alike_from_another_place(trained: Path,
                                                                      tmp_path: Path) -> None:
    """Under torchrun, from COREKIT_PROJECTS; data workers that are spawned, as on macOS, must
    import the project anew.
    """
    program = tmp_path / "train.py"
    program.write_text(SPAWNING)
    done = subprocess.run([
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port",
        str(free_port()),
        str(program), *SHRUNKEN, "data.workers=1", "~evaluators"
    ], cwd=tmp_path, capture_output=True, text=True, timeout=300, env={
        **os.environ, "OMP_NUM_THREADS": "1", "COREKIT_PROJECTS": str(trained / "projects" / "demo")
    })
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "run") == pytest.approx(losses(trained / "run"), rel=2e-5)


@pytest.mark.parametrize(("name", "message"), [
    ("3d", "cannot be a project's name"),
    ("my-idea", "cannot be"),
    ("class", "cannot be"),
    ("../up", "cannot be"),
    ("Demo", "cannot be"),
    ("", "cannot be"),
    ("mobileclip", "there is a project 'mobileclip' in"),
    ("taken", "taken is there already"),
    ("dangling", "dangling is there already"),
    ("shadow", "a loss is called 'shadow_agreement'"),
])
def test_names_that_will_not_do_write_nothing(name: str, message: str, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "projects" / "taken").mkdir(parents=True)
    (tmp_path / "projects" / "dangling").symlink_to("nowhere")
    (tmp_path / "projects" / "other" / "recipes").mkdir(parents=True)
    (tmp_path / "projects" / "other" / "loss.py").write_text(
        "from corekit.registry import register\n\n\n@register('loss', 'shadow_agreement')\nclass "
        "Mine: ...\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(corekit.CorekitError, match=message):
        new_project(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_project_is_written_whole_or_not_at_all(tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "projects").mkdir()
    real = Path.write_text

    def full(path: Path, *arguments: object, **more: object) -> int:
        if path.suffix == ".yaml":
            raise OSError(28, "No space left on device")
        return real(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(corekit.CorekitError, match=r"projects/whole cannot be written: .*No space "
                                                   r"left"):
        new_project("whole")
    assert not list((tmp_path / "projects").iterdir())
    assert "whole" not in find_projects()
