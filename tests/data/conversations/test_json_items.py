"""Items of a large JSON file are where a whole parse finds them."""

import io
import json
import random

import pytest

from corekit.data.conversations import json_items
from corekit.data.conversations.json_items import item_edges

STRINGS = ['[{"', "\\", '\\"', "\\\\", "]}", "é漢😀", "\n", "", "x" * 40, '\\\\"']


def items(count: int) -> list[object]:
    draw = random.Random(count)
    return [{"id": number, **{key: ["".join(draw.choices(STRINGS, k=3)), {"a": [number, None]}]
                              for key in draw.choices(STRINGS, k=draw.randrange(4))}}
            for number in range(count)]


@pytest.mark.parametrize("read", [1 << 24, 61, 7])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_items_of_a_list(read: int, indent: int | None, ascii_only: bool,
                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "READ", read)
    content = json.dumps(items(20), indent=indent, ensure_ascii=ascii_only).encode()
    edges = item_edges(io.BytesIO(content)).tolist()
    assert [json.loads(content[first:last]) for first, last in edges] == items(20)


def test_items_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "READ", 50)
    lines = [json.dumps(item) for item in items(9)]
    content = ("\ufeff" + "\r\n".join(lines[:4]) + "\n\n" + "\n".join(lines[4:])).encode()
    edges = item_edges(io.BytesIO(content)).tolist()
    read = [json.loads(content[first:last].decode("utf-8-sig")) for first, last in edges]
    assert read == items(9)


@pytest.mark.parametrize("content", [b"", b"  ", b"<html>", b"[", b'[{"a": 1}', b'[{"a": "b]}]',
                                     b'[{"a": 1}]]', b'[{"a": 1]'])
def test_what_is_no_list_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="neither a list nor|cut off or damaged"):
        item_edges(io.BytesIO(content))
