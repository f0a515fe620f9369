"""The answers to wrong commands: one sentence, exit status 2, quickly, and nothing written."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.cli.sentences import sentences
from corekit.recipes.compose import compose

QUICKSTART = "+recipe=mobileclip/quickstart"
WRONG = {
    "recipe name": (["+recipe=mobileclip/quikstart"],
                    ["'mobileclip/quikstart'", "did you mean "
                     "'mobileclip/quickstart'"]),
    "recipe without +": (["recipe=mobileclip/quickstart"], ["+recipe=PROJECT/NAME"]),
    "section": ([QUICKSTART, "engin.steps=3"],
                ["engin.steps", "command line", "did you mean "
                 "'engine.steps'"]),
    "key": ([QUICKSTART, "engine.stepz=3"], ["engine.stepz", "did you mean 'engine.steps'"]),
    "added key": ([QUICKSTART, "+engine.stepz=3"], ["engine.stepz", "did you mean 'engine.steps'"]),
    "type": ([QUICKSTART, "engine.steps=many"], ["engine.steps", "'many'", "Integer"]),
    "choice": ([QUICKSTART, "engine.precision=fp61"], ["engine.precision", "fp32, bf16"]),
    "group option": ([QUICKSTART, "optimizer=adamv"], ["'adamv'", "did you mean 'adamw'"]),
    "model name": ([QUICKSTART, "model.name=mobileclip_nanno"],
                   ["model.name", "did you mean "
                    "'mobileclip_nano'"]),
    "argument": ([QUICKSTART, "model.embed_dimm=3"],
                 ["model.embed_dimm", "did you mean 'embed_dim'", "command line"]),
    "argument type": ([QUICKSTART,
                       "model.embed_dim=wide"], ["model.embed_dim", "takes int, not "
                                                 "'wide'"]),
    "nested argument": ([QUICKSTART, "evaluators.zero_shot.dataset.sample=3"],
                        ["dataset.sample", "did you mean 'samples'"]),
    "evaluator": ([QUICKSTART, "evaluators.zero_shot.name=zeroshot"], ["did you mean 'zero_shot'"]),
    "key of the engine": ([QUICKSTART, "evaluators.zero_shot.every_step=3"],
                          ["did you mean 'every_steps'", "'~evaluators.zero_shot.every_step'"]),
    "leftover of a recipe": ([QUICKSTART, "data.transform.name=center_crop"],
                             ["data.transform.scale", "quickstart.yaml",
                              "'~data.transform.scale'"]),
    "renamed key": ([QUICKSTART, "data.lanes=8"], ["called 'data.streams' now"]),
    "added renamed key": ([QUICKSTART, "+data.lanes=8"], ["called 'data.streams' now"]),
    "removed section": ([QUICKSTART, "~data.dataset"], ["'~data.dataset'", "cannot be removed"]),
    "null section": ([QUICKSTART, "evaluators=null"],
                     ["'evaluators=null' on the command line", "'~evaluators.NAME'"]),
    "null": ([QUICKSTART, "engine.steps=null"], ["engine.steps cannot be null; set it"]),
    "brackets": ([QUICKSTART, "data.dataset.name=["], ["data.dataset.name=[", "quotes"]),
    "data folder": (["+recipe=mobileclip/pairs",
                     "data.root=/not/there"], ["data.root=/not/there", "not a folder"]),
    "no data folder": (["+recipe=mobileclip/pairs"], ["data.root=FOLDER"]),
    "empty data folder": (["+recipe=mobileclip/pairs", "data.root="], ["data.root=FOLDER"]),
    "no recipe": ([], ["corekit-train +recipe="]),
    "unpickling": ([QUICKSTART, "--experimental-rerun", "x.pickle"], ["unpickle"]),
}


def run(words: list[str], folder: Path,
        module: str = "train") -> tuple[subprocess.CompletedProcess[str], float]:
    program = (f"import sys; sys.argv = ['corekit', *{words!r}]\n"
               f"from corekit.cli.{module} import main\nmain()")
    began = seconds_of_children()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=folder)
    return done, seconds_of_children() - began


def seconds_of_children() -> float:
    """Of a processor: what a busy machine does beside does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_commands(case: str, tmp_path: Path) -> None:
    words, parts = WRONG[case]
    done, seconds = run(words, tmp_path)
    assert done.returncode == 2, done.stderr + done.stdout
    assert done.stderr.startswith("corekit: ")
    assert done.stderr.count("\n") == 1, "one sentence, one line"
    for part in parts:
        assert part in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir()), "nothing is written"
    assert seconds < 2


@pytest.mark.parametrize(("body", "parts"), [
    ("engine:\n  stepz: 3\n",
     ["mine/recipes/one.yaml", "engine.stepz", "did you mean "
      "'engine.steps'"]),
    ("engine:\n  steps: many\n", ["mine/recipes/one.yaml", "'many'", "engine.steps"]),
    ("model:\n  name: mobileclip_nanno\n",
     ["mine/recipes/one.yaml", "did you mean "
      "'mobileclip_nano'"]),
    ("model:\n  name: mobileclip_nano\n  embed_dimm: 3\n",
     ["mine/recipes/one.yaml", "model.embed_dimm", "embed_dim"]),
    ("evaluators: null\n", ["mine/recipes/one.yaml", "evaluators cannot be null"]),
    ("engine: [\n", ["mine/recipes/one.yaml", "YAML"]),
    ("defaults: [/recipe/mine/one]\n", ["lead back to the recipe itself"]),
    ("run_dir: ${oc.env:NOPE}\n", ["'NOPE' not found"]),
    ("model:\n  name: mobileclip_nano\n", ["no loss"]),
])
def test_wrong_recipes_are_named_with_their_file(body: str, parts: list[str],
                                                 tmp_path: Path) -> None:
    recipes = tmp_path / "projects" / "mine" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "one.yaml").write_text("# @package _global_\n" + body)
    done, seconds = run(["+recipe=mine/one"], tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr
    assert seconds < 2


@pytest.mark.parametrize(("content", "message"), [
    (b"", "first line must be"), (b"- a\n", "first line must be"), (b"hello", "first line must be"),
    (b"engine: {steps: 3}\n", "first line must be"), ("# größe".encode("latin-1"), "not in UTF-8"),
    ("# @package _global_".encode("utf-16"), "not in UTF-8"),
    (b"\xef\xbb\xbf# @package _global_\r\nengine: {steps: 3}\r\n", "there is no model"),
])
def test_files_that_are_no_recipes(content: bytes, message: str, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = tmp_path / "projects" / "mine" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "one.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorekitError, match=message):
        compose("+recipe=mine/one")


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                        ) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught, sentences():
        (tmp_path / "file" / "folder").mkdir()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"corekit: {tmp_path}/file/folder: Not a directory (COREKIT_TRACEBACK=1 shows who asked "
        "for it)\n")
    with pytest.raises(OSError, match="odd"), sentences():  # of no place: no mistake of the user's
        raise OSError("odd")


@pytest.mark.parametrize(("words", "message"), [
    ([], "type checkpoint=RUN"), (["checkpoint=nowhere"], "does not exist"),
    (["checkpoint=.", "+recipe=mobileclip/s2"], "takes no recipe"), (["checkpoint=."], "holds no "
                                                                                       "trained "
                                                                                       "model"),
])
def test_wrong_evaluations(words: list[str], message: str, tmp_path: Path) -> None:
    done, _ = run(words, tmp_path, "evaluate")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_second_interrupt_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, sentences():
            os.kill(os.getpid(), signal.SIGINT)
        assert ended.value.code == 130
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # waits for nothing
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "\ncorekit: interrupted\n"
