"""Vocabularies: chosen by count, written as a table, read from tables and from CoreNet's pickle,
of which nothing is called.
"""

import importlib.metadata
import pickle
import tracemalloc
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corekit_projects.catlip.versions import warn_of_other_nltk
from corekit_projects.catlip.vocabulary import (
    COLUMNS,
    Vocabulary,
    choose,
    normal_key,
    read_vocabulary,
)
from corekit_projects.catlip.wordnet import open_wordnet

from corekit.errors import CorekitError

# as it begins
CORENET = {"n5928118": 52418327, "n13333833": 46393897, "n4960277": 38781582, "n7947958": 5}
KEYS = ["n05928118", "n13333833", "n04960277", "n07947958"]


def test_frequent_ones_come_first_and_ties_by_key() -> None:
    counts = {"n00000003": 7, "n00000002": 7, "n00000009": 8, "n00000001": 5, "n00000004": 6}
    assert list(choose(counts, threshold=5).counts) == [
        "n00000009", "n00000002", "n00000003", "n00000004"], "more than V_tau"
    assert dict(choose(counts, threshold=0, size=2).counts) == {"n00000009": 8, "n00000002": 7}
    assert len(choose(counts, threshold=6, size=4)) == 3
    with pytest.raises(CorekitError, match=r"than 500 times \(the most frequent one 8 times\)"):
        choose(counts)
    with pytest.raises(CorekitError, match="there is none at all"):
        choose({}, threshold=0)
    for wrong in ({"size": 0}, {"size": -1}, {"threshold": -1}):
        with pytest.raises(CorekitError, match="threshold must be 0 or more and size at least 1"):
            choose(counts, **wrong)


def test_rows_are_ascending_and_once() -> None:
    table = Vocabulary(dict.fromkeys(KEYS, 1))
    rows = table.rows(["n04960277", "n05928118", "n02084071"])
    assert (rows.tolist(), rows.dtype) == ([0, 2], np.int32), "CoreNet's example: [1, 0, 1, 0]"
    assert (table.rows([]).shape, table.rows([]).dtype) == ((0,), np.int32)


def test_a_table_has_lemma_and_gloss_and_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text(Vocabulary({"n02084071": 12, "n05928118": 3}).table())
    lines = [line.split("\t") for line in (tmp_path / "v.tsv").read_text().splitlines()]
    assert lines[0][:4] == list(COLUMNS)
    assert lines[1][:2] == ["n02084071", "dog"]
    assert lines[1][2].startswith("a member of the genus Canis")
    assert lines[1][3] == "12"
    table = read_vocabulary(tmp_path / "v.tsv")
    assert dict(table.counts) == {"n02084071": 12, "n05928118": 3}
    assert list(read_vocabulary(tmp_path / "v.tsv", size=1).counts) == ["n02084071"]
    assert table.fingerprint != read_vocabulary(tmp_path / "v.tsv", size=1).fingerprint


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", [dict, Counter, OrderedDict])
def test_corenets_pickle_in_any_protocol(tmp_path: Path, make: Callable[..., Any],
                                         protocol: int) -> None:
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps(make(CORENET), protocol))
    assert dict(read_vocabulary(tmp_path / "vocab.pkl").counts) == dict(zip(KEYS, CORENET.values()))


def test_a_pickle_of_its_size_keeps_its_order(tmp_path: Path) -> None:
    counts = {f"n{number * 7919 % 15_300_000}": 50_000 - number for number in range(1, 24_321)}
    (tmp_path / "vocab.pkl").write_bytes(pickle.dumps(counts))
    table = read_vocabulary(tmp_path / "vocab.pkl", size=24_320)
    assert list(table.counts) == [normal_key(key) for key in counts]
    assert table.row[normal_key("n7919") or ""] == 0


class Harm:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trace"),)


class Called:
    """Would give a plain mapping, made by something else."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Harm, ({"n1": 1},)


@pytest.mark.parametrize("value", [
    Harm(), Called(), {"n1": Harm()}, {Harm(): 1}, [1], {"n1": 1.5}, {"n1": True}, {"n1": None},
    {1: 1}, {"n1": {"n2": 1}}, {"n1": -1}, {"n1": 2**70}, {}, {"a dog": 1}, {"n1": 1, "n01": 2},
    {"v1": 1}, set("ab"), b"dog", {"n123456789": 1}])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_other_pickles_are_refused_and_nothing_happens(tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch,
                                                       value: object, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vocab.pkl").write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(CorekitError, match=r"vocab\.pkl"):
        read_vocabulary("vocab.pkl")
    assert not Path("trace").exists()


@pytest.mark.parametrize("calls", [b"cos\nsystem\n(S'touch trace'\ntR.",
                                   b"(S'touch trace'\nios\nsystem\n.",
                                   b"cbuiltins\neval\n(S'open(\"trace\", \"w\")'\ntR.",
                                   b"ccollections\nnamedtuple\n(S'a'\n(ltR."])
def test_what_a_pickle_names_is_said_and_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    calls: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vocab.pkl").write_bytes(calls)
    with pytest.raises(CorekitError, match=r"vocab\.pkl .*\(it names '(os\.system|builtins\.eval|"
                                           r"collections\.namedtuple)'\)$"):
        read_vocabulary("vocab.pkl")
    assert not Path("trace").exists()


def test_a_few_bytes_take_no_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"\x80\x02}r\xff\xff\xff\x07.")
    tracemalloc.start()
    try:
        with pytest.raises(CorekitError, match="has 0 synsets"):
            read_vocabulary(tmp_path / "v")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_broken_pickles_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps(dict.fromkeys(KEYS, 3))
    odd = [
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", b"(((.", b"0.", b"u.", b"}}u.", b"}(s.",
        b"g1\n.", b"\x93.", b"R.", b")R.", b"}\x85R.", b"}}s."
    ]
    for content in [*(whole[:cut] for cut in range(len(whole))), *odd]:
        (tmp_path / "v").write_bytes(content)
        with pytest.raises(CorekitError, match="nothing else is read from a pickle"):
            read_vocabulary(tmp_path / "v")


@pytest.mark.parametrize(("line", "message"), [
    ("n02084071\tdog\tan animal", "line 3 is not"), ("", "line 3 is not"),
    ("n02084071\tdog\tan animal\tmany", "line 3 is not"),
    ("n05928118\tdog\tan animal\t3", "entry 2 is n05928118 again"),
    ("dog\tdog\tan animal\t3", "entry 2 is 'dog'"),
])
def test_broken_tables_say_where(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "v.tsv").write_text("\t".join(COLUMNS) + f"\nn05928118\timage\tx\t4\n{line}\n")
    with pytest.raises(CorekitError, match=message):
        read_vocabulary(tmp_path / "v.tsv")


def test_what_there_is_not(tmp_path: Path) -> None:
    open_wordnet()  # without it, what is said is that
    with pytest.raises(CorekitError, match="none.tsv cannot be read: No such file"):
        read_vocabulary(tmp_path / "none.tsv")
    (tmp_path / "v").write_bytes(pickle.dumps(dict.fromkeys(KEYS, 3)))
    with pytest.raises(CorekitError, match=r"has 4 synsets, not 24,320"):
        read_vocabulary(tmp_path / "v", size=24_320)
    with pytest.raises(CorekitError, match=r"1 of the vocabulary's 2 synsets are not in this "
                                           r"WordNet .*such as n00000001"):
        Vocabulary({"n02084071": 2, "n00000001": 1}).check()


def test_another_nltk_than_a_vocabulary_was_made_with_is_told(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = importlib.metadata.version("nltk")
    new, old, other = (tmp_path / name for name in ("new.tsv", "old.tsv", "other.tsv"))
    new.write_text(Vocabulary({"n02084071": 12}).table())
    assert new.read_text().splitlines()[0].split("\t")[4:] == [f"nltk {here}", "wordnet 3.0"]
    old.write_text(new.read_text().replace(f"\tnltk {here}\twordnet 3.0", "", 1))
    other.write_text(new.read_text().replace(f"nltk {here}", "nltk 3.8.1", 1))
    for path in (new, old, other):
        table = read_vocabulary(path)
        assert dict(table.counts) == {"n02084071": 12}
        warn_of_other_nltk("other.tsv", table.versions.get("nltk"))
    (record,) = caplog.records
    assert f"other.tsv was made with NLTK 3.8.1, and {here} is here" in record.message
