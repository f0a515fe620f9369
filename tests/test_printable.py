"""What is shown of other people's names does no harm, and what is printed to be typed can be."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from corekit.printable import override, printable


def test_control_characters_are_escaped_and_words_stay() -> None:
    assert printable("größe 図 😀") == "größe 図 😀"
    assert printable("a\x1b[2Jb\nc\r\x07") == "a\\x1b[2Jb\\nc\\r\\x07"
    assert printable("a\udcffb").isprintable()


@pytest.mark.parametrize("value", ["runs/a", "my runs", "runs/lr=0.001,wd=0.2", "a'b", 'a"b$x', "ü",
                                   "~/x", "{1}", "[a]", "a:b", "#x", "`x`!", "null", "0.10"])
def test_an_override_reaches_hydra_as_it_was(value: str) -> None:
    words = shlex.split(override("checkpoint", value))
    assert len(words) == 1
    parsed = OverridesParser.create().parse_override(words[0]).value()
    assert str(parsed) == value or value in ("null", "0.10")
