"""Commands that projects bring under ``corekit data``."""

from pathlib import Path

import pytest

from tests.conftest import corekit_command

COMMAND = '''
from corekit.registry import register


@register("command", "tell")
def tell(out: str, times: int = 1, size: tuple[int, int] | None = None,
         aloud: bool = False) -> None:
    """Say what was typed: 100 %.

    More of it.

    Args:
        out: the folder,
            wherever it is.
        times: how often.
        aloud: in capitals.
    """
    print((f"{out} {size} " * times).upper() if aloud else f"{out} {size} " * times)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "projects" / "mine" / "recipes").mkdir(parents=True)
    (tmp_path / "projects" / "mine" / "tell.py").write_text(COMMAND)
    return tmp_path


@pytest.mark.parametrize(("words", "output"), [
    (("place",), "place None"), (("place", "--times", "2"), "place None place None"),
    (("--aloud", "place", "--size", "3", "4"), "PLACE [3, 4]"),
])
def test_arguments_become_words_options_and_switches(folder: Path, words: tuple[str, ...],
                                                     output: str) -> None:
    done = corekit_command("corekit", "data", "tell", *words, folder=folder)
    assert done.stdout.strip() == output, done.stderr


def test_help_is_the_docstring(folder: Path) -> None:
    shown = corekit_command("corekit", "data", "tell", "--help", folder=folder).stdout
    for text in ("Say what was typed: 100 %.", "More of it.", "the folder, wherever it is.", "how "
                 "often. (default: 1)"):
        assert text in " ".join(shown.split())
    assert "Say what was typed" in corekit_command("corekit", "data", "--help",
                                                   folder=folder).stdout


@pytest.mark.parametrize(("words", "message"), [
    ((), "the following arguments are required: out"), (("place", "--times", "x"), "invalid int "
                                                                                   "value: 'x'"),
    (("place", "--size", "1"), "expected 2 arguments"), (("place", "--tims", "1"), "--tims"),
])
def test_mistakes_are_told(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = corekit_command("corekit", "data", "tell", *words, folder=folder)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    (folder / "projects" / "mine" / "tell.py").write_text(COMMAND.replace('"tell")', '"index")'))
    done = corekit_command("corekit", "data", "index", "x", folder=folder)
    assert done.returncode == 2
    assert "tell.py:5: there is a `corekit data index` already: take another name" in done.stderr
