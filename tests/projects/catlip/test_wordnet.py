"""Where WordNet comes from. Where none can be had, what needs it does not run, and that is said."""

import sys
from pathlib import Path

import nltk
import pytest
from corekit_projects.catlip import wordnet
from corekit_projects.catlip.wordnet import WordNet, key_of, open_tagger, open_wordnet

from corekit.cli.main import main
from corekit.errors import CorekitError


@pytest.fixture(name="nowhere")
def nowhere_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without data of NLTK's."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    monkeypatch.setattr(wordnet, "PLACES", ())
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    # what was opened before is remembered
    monkeypatch.setattr(wordnet, "open_wordnet", open_wordnet.__wrapped__)
    monkeypatch.setattr(wordnet, "open_tagger", open_tagger.__wrapped__)


def unpack(folder: Path) -> None:
    """WordNet's files as Debian's package has them: without lexnames and index.sense."""
    folder.mkdir()
    for part in ("noun", "verb", "adj", "adv"):
        for name in (f"data.{part}", f"index.{part}", f"{part}.exc"):
            (folder / name).write_bytes(open_wordnet().root.join(name).open().read())


def test_known_synsets() -> None:
    nouns = open_wordnet()
    for key, name in (("n02084071", "dog.n.01"), ("n05928118", "image.n.01"), ("n13333833",
                                                                               "stock.n.01"),
                      ("n04960277", "black.n.01")):  # in ImageNet's list or CoreNet's vocabulary
        assert nouns.noun(key).name() == name
        assert key_of(nouns.noun(key)) == key
    assert len(nouns.called) == 82115, "noun synsets of WordNet 3.0, says its statistics"
    with pytest.raises(CorekitError, match="n00000001 is no noun of this WordNet"):
        nouns.noun("n00000001")
    assert [nouns.lemma_of(word)
            for word in ("dogs", "geese", "dog", "xyzzy")] == ["dog", "goose", "dog", "xyzzy"]
    assert [nouns.first_sense(word) for word in ("dog", "photo", "xyzzy", "quickly")
            ] == ["n02084071", "n03925226", None, None]
    for key in ("n02084071", "n03925226", "n10187710", "n00007846", *sorted(nouns.called)[::2000]):
        assert nouns.noun(key).name().rpartition(".n.")[0] == nouns.called[key]


def test_a_distributions_package_is_found_and_gives_the_same(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(tmp_path / "wordnet")
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(wordnet, "PLACES", ("/nowhere", str(tmp_path / "wordnet")))
    nouns = open_wordnet.__wrapped__()
    assert str(nouns.root) == str(tmp_path / "wordnet")
    assert nouns.noun("n02084071").definition() == open_wordnet().noun("n02084071").definition()
    assert nouns.synset("dog.n.01").path_similarity(
        nouns.synset("cat.n.01")) == 0.2, "as NLTK's manual has it"
    for part in ("verb", "noun"):
        (tmp_path / "wordnet" / f"index.{part}").write_text("")
    (tmp_path / "wordnet" / "data.adj").write_text("  1 WordNet 3.1 Copyright\n")
    with pytest.raises(CorekitError, match=r"is version 3\.1"):
        open_wordnet.__wrapped__()
    (tmp_path / "wordnet" / "index.noun").write_text("dog n x\n")
    with pytest.raises(CorekitError, match="cannot be read"):
        open_wordnet.__wrapped__()


def corekit(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["corekit", *words])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.usefixtures("nowhere")
def test_where_there_is_none_a_sentence_says_how_to_get_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert corekit("data", "wordnet", monkeypatch=monkeypatch) == 2
    message = capsys.readouterr().err
    assert "`corekit data wordnet --yes`" in message
    assert "apt install wordnet-base" in message
    with pytest.raises(CorekitError, match=r"tagger .* is not on this machine: `corekit data "
                                           r"wordnet --yes`"):
        open_tagger.__wrapped__()


@pytest.mark.usefixtures("nowhere")
def test_it_is_fetched_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    monkeypatch.setattr(nltk, "download", lambda package, **_: asked.append(package) or False)
    assert corekit("data", "wordnet", "--yes", monkeypatch=monkeypatch) == 2
    assert asked == ["wordnet"]
    assert "wordnet could not be fetched from NLTK's server" in capsys.readouterr().err
    monkeypatch.setattr(wordnet, "open_wordnet", lambda: WordNet)
    monkeypatch.setattr(nltk, "download", lambda package, **_: asked.append(package) or True)
    wordnet.fetch()
    assert asked == ["wordnet", wordnet.TAGGER], "what is there is not fetched again"
