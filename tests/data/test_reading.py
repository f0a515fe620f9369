"""Storage that does not answer is told in a sentence, with its name and the seconds."""

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.data import reading, storage
from corekit.data.reading import answered
from corekit.data.storage import Storage

SILENCE = 0.1  # seconds, instead of 20


@pytest.fixture(autouse=True)
def _silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREKIT_STALL_SECONDS", str(SILENCE))


def test_what_answers_late_is_told_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    assert answered(lambda: time.sleep(2.5 * SILENCE) or 7, "s3://b/00003.tar", ends=True) == 7
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["s3://b/00003.tar has not answered for 0 s: still waiting"] * 2


def test_what_never_answers_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "ENDS_AFTER", 2)
    never = threading.Event()
    stored = Storage(str(tmp_path))
    monkeypatch.setattr(type(stored._connect()[0]), "cat_file", lambda *_, **__: never.wait())
    with pytest.raises(CorekitError, match=r"a\.tar has not answered for 0 s: look at"):
        stored.read("a.tar")
    never.set()


def test_errors_are_those_of_the_action() -> None:
    with pytest.raises(KeyError):
        answered(lambda: {}["absent"], "a.tar", ends=True)


def test_a_second_try_is_told(caplog: pytest.LogCaptureFixture,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.001)
    results: Iterator[int] = iter([0, 1])
    with caplog.at_level(logging.WARNING):
        storage.retry(lambda: 1 // next(results), "s3://b/00003.tar", ArithmeticError)
    assert "s3://b/00003.tar: ZeroDivisionError" in caplog.text
    assert "trying it again, 2 of 4" in caplog.text


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf"])
def test_silence_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("COREKIT_STALL_SECONDS", text)
    with pytest.raises(CorekitError, match="COREKIT_STALL_SECONDS="):
        answered(lambda: 1, "a.tar", ends=True)
