"""Projects of one's own: where they are found, which one wins, and that every process can import
them.
"""

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corekit import CorekitError, registry
from corekit.projects import find_projects
from corekit.recipes.find import recipe_names
from tests.plain import compose

PIECE = ("from corekit.registry import register\n\n\n"
         "@register('loss', '{name}')\nclass Piece:\n    '''A piece.'''\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a project folder with these files, below a working directory that has none."""
    monkeypatch.chdir(tmp_path)

    def make(where: str, **files: str) -> Path:
        (tmp_path / where / "recipes").mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / where / f"{name}.py").write_text(text)
        return tmp_path / where

    return make


def places(*names: str) -> list[str]:
    return [find_projects()[name].place for name in names]


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={**os.environ, **environment})


def test_folders_are_found_where_the_design_says(project: Callable[..., Path],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    one = project("places/one")
    project("folder/two")
    project("folder/three")
    project("projects/four")
    monkeypatch.setenv("COREKIT_PROJECTS", os.pathsep.join((str(one), "folder", "")))
    assert places("one", "two", "three", "four") == ["COREKIT_PROJECTS"] * 3 + ["./projects"]
    assert "mobileclip" in find_projects()
    assert "places" not in find_projects()


def test_a_recipe_of_a_stranger_builds_on_a_papers(project: Callable[..., Path]) -> None:
    folder = project("projects/mine")
    (folder / "recipes" / "nano.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults:\n  - /recipe/mobileclip/pairs\n  - override "
        "/optimizer: adamw\n"
        "model: {name: mobileclip_nano, context_length: 77}\nengine: {batch_size: 4096, "
        "micro_batch: 64}\n")
    (folder / "recipes" / "_part.yaml").write_text("# @package _global_\n")
    assert "mine/nano" in recipe_names()
    assert "mine/_part" not in recipe_names()
    recipe = compose("+recipe=mine/nano", "engine.steps=7")
    assert recipe["engine"]["steps"] == 7
    assert recipe["engine"]["micro_batch"] == 64
    assert recipe["engine"]["ema_decay"] == 0.9995  # the paper's
    assert recipe["loss"] == {"name": "contrastive"}


def test_one_name_in_two_places_names_both(project: Callable[..., Path],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = project("a/same"), project("b/same")
    monkeypatch.setenv("COREKIT_PROJECTS", os.pathsep.join((str(one), str(other))))
    with pytest.raises(CorekitError, match=f"two projects are called 'same': {one} .* and {other}"):
        find_projects()


def test_a_folder_that_is_found_twice_counts_once(project: Callable[..., Path],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project("projects/twice", pieces=PIECE.format(name="found_twice"))
    link = folder.parents[1] / "link"
    link.symlink_to(folder.parent)
    (folder.parents[1] / "renamed").symlink_to(folder)
    monkeypatch.setenv(
        "COREKIT_PROJECTS",
        os.pathsep.join((f"{folder}/", str(link), "projects/../projects", "renamed")))
    assert [name for name, each in find_projects().items()
            if each.place == "COREKIT_PROJECTS"] == ["twice"]
    assert registry.find("loss", "found_twice").module == "corekit_projects.twice.pieces"


def test_a_folder_in_the_working_directory_replaces_no_installed_project(
        project: Callable[..., Path], caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be somebody else's; what the sentence says to type uses it."""
    folder = project("projects/mobileclip", pieces="import corekit\n" + PIECE.format(name="theirs"))
    assert places("mobileclip") == ["installed with corekit"]
    assert "theirs" not in registry.names("loss")
    (words, ) = re.findall(r"put (\S+) before the command", caplog.text)
    monkeypatch.setenv(*words.split("="))
    assert find_projects()["mobileclip"].folder == folder
    assert "theirs" in registry.names("loss")


def test_the_checkout_that_is_installed_is_one_project(monkeypatch: pytest.MonkeyPatch,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    assert places("mobileclip") == ["installed with corekit"]
    assert caplog.text == ""


def test_a_named_folder_stands_in_for_an_installed_project(project: Callable[..., Path],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what other processes import too, and the first rank's main process says so, once."""
    project("mine/mobileclip", pieces=PIECE.format(name="stand_in"))
    monkeypatch.setenv("COREKIT_PROJECTS", "mine")
    program = ("from corekit.cli.sentences import configure_logging; configure_logging()\n"
               "import corekit_projects.mobileclip.pieces as pieces; from corekit import registry\n"
               "assert registry.find('loss', 'stand_in').load() is pieces.Piece; "
               "print(pieces.__file__)\n"
               "assert not registry.names('model', 'mobileclip_s2')")
    first, second = python(program), python(program, RANK="1")
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == f"{Path('mine/mobileclip/pieces.py').absolute()}\n"
    assert first.stderr.count("\n") == 1
    assert "in place of the installed project 'mobileclip'" in first.stderr
    assert second.stderr == ""


@pytest.mark.parametrize("package", [False, True])
def test_objects_of_a_project_unpickle_in_a_process_that_knows_nothing(
        project: Callable[..., Path], package: bool) -> None:
    """As data workers must where processes are spawned; modules import each other relatively, with
    and without __init__.
    """
    name = f"pickled_{package}".lower()
    folder = project(
        f"projects/{name}",
        pieces="from .helper import VALUE\n" + PIECE.format(name=name) + "    value = VALUE\n",
        helper="VALUE = 7\n", **({"__init__": "MADE = True\n"} if package else {}))
    (folder / "deep").mkdir()
    (folder / "deep" / "more.py").write_text("from ..pieces import Piece\n" +
                                             PIECE.format(name=name + "_deep"))
    content = pickle.dumps([registry.build("loss", name), registry.build("loss", name + "_deep")])
    done = python(f"import pickle; one, deep = pickle.loads({content!r}); print(one.value, "
                  f"type(one).__module__, "
                  "type(deep).__module__)")
    modules = f"corekit_projects.{name}.pieces corekit_projects.{name}.deep.more"
    assert done.stdout == f"7 {modules}\n", done.stderr


@pytest.mark.parametrize(("text", "message"), [
    ("# corekit register(\ndef broken(:\n", r"pieces\.py:2: .*must parse"),
    ("# corekit register(\0", r"pieces\.py:1: .*null bytes.*must parse"),
])
def test_a_file_that_does_not_parse_is_named(project: Callable[..., Path], text: str,
                                             message: str) -> None:
    project("projects/broken", pieces=text)
    with pytest.raises(CorekitError, match=message):
        registry.entries("loss")


def test_what_is_not_of_the_project_is_not_read(project: Callable[..., Path]) -> None:
    folder = project("projects/tidy", pieces=PIECE.format(name="tidy"))
    for place in (folder / "venv" / "lib", folder / ".hidden"):
        place.mkdir(parents=True)
        (place / "broken.py").write_text("# register(\ndef broken(:\n")
    (folder / "venv" / "pyvenv.cfg").touch()
    project("projects/.half.writing", pieces="# register(\ndef broken(:\n")
    assert "tidy" in registry.names("loss")


def test_a_folder_that_python_cannot_import_is_refused(project: Callable[..., Path]) -> None:
    project("projects/version 2.0", pieces="import corekit\n")
    with pytest.raises(CorekitError, match="rename the folder"):
        find_projects()


def test_other_code_with_a_folder_of_recipes_stops_nothing(project: Callable[..., Path]) -> None:
    project("projects/torchtune-0.3", setup="x = 1\n")
    project("projects/old_code", util="print 'python 2'; register(1)\n")
    folder = project("projects/only_recipes")
    (folder / "recipes" / "mine.yaml").write_text("# @package _global_\n")
    names = find_projects().keys()
    assert "only_recipes" in names
    assert not {"torchtune-0.3", "old_code"} & names
    assert registry.names("loss")
