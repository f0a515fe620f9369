"""What is shown of other people's names does no harm, and what is printed to be typed can be."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from corekit.printable import override, plain_places, printable


def test_control_characters_are_escaped_and_words_stay() -> None:
    assert printable("größe 図 😀") == "größe 図 😀"
    assert printable("a\x1b[2Jb\nc\r\x07") == "a\\x1b[2Jb\\nc\\r\\x07"
    assert printable("a\udcffb").isprintable()


@pytest.mark.parametrize("value", ["runs/a", "my runs", "runs/lr=0.001,wd=0.2", "a'b", 'a"b$x',
                                   "ü", "~/x", "{1}", "[a]", "a:b", "#x", "`x`!", "null", "0.10",
                                   "a\\b", "a\\", "a\\'b", "a\nb"])
def test_an_override_reaches_hydra_as_it_was(value: str) -> None:
    words = shlex.split(override("checkpoint", value))
    assert len(words) == 1
    parsed = OverridesParser.create().parse_override(words[0]).value()
    assert str(parsed) == value or value in ("null", "0.10")


@pytest.mark.parametrize("value", ["2024", "007", "1e3", "1.50", "1_000", "+5", "true", "inf",
                                   "~/x", "a b", "a=b", "é", "[a]", "{b}", "[", "a;b", "a#b", "(x)",
                                   "!x", "a\\b", "a'b", "{00..09}.tar", "nul\nl"])
def test_a_place_is_taken_as_it_is_typed(value: str) -> None:
    for key in ("run_dir", "data.root", "++init.path", "checkpoint", "evaluators.a.dataset.root"):
        words = plain_places([f"{key}={value}"])
        assert OverridesParser.create().parse_override(words[0]).value() == value


@pytest.mark.parametrize("word", ["data.root=null", "data.root='a b'", 'run_dir="x"', "run_dir=a,b",
                                  "data.root=${x}", "seed=007", "data.dataset.name=~/x"])
def test_what_hydra_is_to_read_is_left_to_it(word: str) -> None:
    assert plain_places([word]) == [word]
    assert plain_places(["run_dir=007", "-m"]) == ["run_dir=007", "-m"]
