"""A wheel of corekit, installed where there is no checkout, is all of it; so is a stranger's
package with a project.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from corekit.recipes.find import recipe_names
from tests.conftest import TINY, corekit_command
from tests.plain import compose

ROOT = Path(__file__).parents[1]
SOURCES = {"corekit": "corekit", "projects": "corekit_projects", "recipes": "corekit_recipes"}
COMPOSED = """
import json, hydra, corekit
from corekit.recipes.compose import plain
from corekit.recipes.hydra_schema import recipe_schema
from corekit.recipes import hydra_sources as sources
from corekit.recipes.find import recipe_names
sources.install(recipe_schema())
with hydra.initialize_config_module("corekit.recipes", version_base="1.3"):
    print(json.dumps({name: plain(hydra.compose("train", [f"+recipe={name}"]))
                      for name in recipe_names()}))
"""


def say(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(list(map(str,
                                   words)), cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**environment, "OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1"})


def build_wheel(source: Path, out: Path) -> Path:
    done = say(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation",
               "-w", out, folder=out)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob(f"{'idea' if source.name == 'projects' else 'corekit'}-*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, which leaves no build folder in the tree."""
    source = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name,
                        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return build_wheel(source, source)


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel in it.

    It sees the packages of this one, but not what is installed there for editing: .pth files in
    them are not followed.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (next(folder.glob("lib/python*/site-packages")) / "dependencies.pth").write_text(
        "\n".join(packages))
    install(folder / "bin", wheel)
    return folder / "bin"


def install(scripts: Path, *what: str | Path) -> None:
    done = say(scripts / "python", "-m", "pip", "install", "--no-deps", "--ignore-installed", *what,
               folder=scripts)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_every_file_of_the_tree(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {
        "/".join((SOURCES[name], *path.relative_to(ROOT / name).parts)) for name in SOURCES
        for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def test_an_installed_corekit_composes_every_recipe_as_the_checkout_does(
        scripts: Path, tmp_path: Path) -> None:
    where = say(scripts / "python", "-c", "import corekit; print(corekit.__file__)",
                folder=tmp_path)
    assert str(scripts.parent) in where.stdout
    done = say(scripts / "python", "-c", COMPOSED, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(
        json.dumps({name: compose(f"+recipe={name}") for name in recipe_names()}))


def test_an_installed_corekit_runs_the_quickstart(scripts: Path, finished_run: Path,
                                                  tmp_path: Path) -> None:
    """To the same bits as the checkout."""
    done = say(scripts / "corekit-train", *TINY, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    here, there = ([
        json.loads(line)["loss"]
        for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()
    ] for folder in (finished_run, tmp_path))
    assert here == there


def test_a_strangers_package_brings_its_project(scripts: Path, tmp_path: Path) -> None:
    """Made by ``corekit new``, with the lines of packaging that the README shows; a copy in the
    working directory does not replace it.
    """
    begun = corekit_command("corekit", "new", "idea", folder=tmp_path)
    assert begun.returncode == 0, begun.stderr
    packaging = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    (tmp_path / "projects" / "pyproject.toml").write_text(packaging)
    install(scripts, build_wheel(tmp_path / "projects", tmp_path))
    try:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        assert say(scripts / "corekit", "list", "recipes", "idea/*",
                   folder=elsewhere).stdout == "idea/first\n"
        done = say(scripts / "corekit-train", "+recipe=idea/first", "engine.steps=2",
                   "schedule.warmup_steps=0", "run_dir=run", "data.workers=1", folder=elsewhere)
        assert done.returncode == 0, done.stderr
        assert "step 2 " in done.stdout
        clash = say(scripts / "corekit", "list", "recipes", folder=tmp_path)  # another copy
        assert "idea/first\n" in clash.stdout
        assert "is left out, since a project 'idea' is there already (package idea)" in clash.stderr
        say(scripts / "python", "-m", "pip", "uninstall", "-y", "idea", folder=tmp_path)
        # the same folder
        install(scripts, "--no-build-isolation", "--editable", tmp_path / "projects")
        assert say(scripts / "corekit", "list", "recipes", "idea/*",
                   folder=tmp_path).stdout == "idea/first\n"
    finally:
        say(scripts / "python", "-m", "pip", "uninstall", "-y", "idea", folder=tmp_path)
