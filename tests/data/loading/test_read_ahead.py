"""Sources read one after the other: each is begun once, the next while one is read."""

from types import SimpleNamespace
from typing import Any

import pytest

from corekit.data.loading.read_ahead import ReadAhead


class Begun:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.closed: list[str] = []

    def __call__(self, source: Any) -> Any:
        self.names.append(source.name)
        return SimpleNamespace(name=source.name, close=lambda: self.closed.append(source.name))


@pytest.fixture
def sources() -> list[Any]:
    return [SimpleNamespace(name=name) for name in "abc"]


def test_the_next_one_is_begun_while_one_is_read(sources: list[Any]) -> None:
    begin, ahead = Begun(), ReadAhead(sources)
    for source, begun in zip(sources, ("ab", "abc", "abc")):
        assert ahead.take(source, begin).name == source.name  # type: ignore[attr-defined]
        assert "".join(begin.names) == begun
    ahead.close()
    assert begin.closed == []


def test_what_is_never_read_is_ended(sources: list[Any]) -> None:
    begin, ahead = Begun(), ReadAhead(sources)
    ahead.take(sources[0], begin)
    ahead.take(sources[1], begin)
    ahead.close()
    assert begin.names == ["a", "b", "c"]
    assert begin.closed == ["c"]


def test_one_that_is_passed_over_is_ended(sources: list[Any]) -> None:
    begin, ahead = Begun(), ReadAhead(sources)
    ahead.take(sources[0], begin)
    ahead.take(sources[2], begin)
    assert begin.names == ["a", "b", "c"]
    assert begin.closed == ["b"]
