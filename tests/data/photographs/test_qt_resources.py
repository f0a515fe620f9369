"""Qt's resource files are read within their bounds, whatever they claim."""

import struct

import pytest

from corekit import CorekitError
from corekit.data.photographs.qt_resources import read_resources
from tests.data.photographs.qt_resource_file import resource_file

FILES = {"/a/b/one.webp": b"first", "/a/two": b"second " * 9, "/c": b"", "/a/b/ü": b"x"}


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_file_is_found(version: int, compressed: bool) -> None:
    resources = read_resources(resource_file(FILES, compressed, version), "a.rcc")
    assert {path: resources.read(path) for path in resources.files} == FILES


def test_files_that_are_cut_off_anywhere_are_one_sentence() -> None:
    whole = resource_file(FILES, compressed=True)
    for length in range(len(whole) - 8):  # a time, which nobody asks for
        with pytest.raises(CorekitError, match=r"a\.rcc"):
            read_resources(whole[:length], "a.rcc").read("/a/two")


def test_damage_is_one_sentence() -> None:
    whole = resource_file(FILES, compressed=True)
    tree = struct.unpack(">I", whole[8:12])[0]
    circle = whole[:tree + 10] + struct.pack(">I", 0) + whole[tree + 14:]
    for content, message in ((b"RIFF" + whole[4:], "no resource file of Qt"),
                             (whole[:4] + struct.pack(">I", 9) + whole[8:], "of version 9"),
                             (circle, "lead round in circles")):
        with pytest.raises(CorekitError, match=message):
            read_resources(content, "a.rcc")
    resources = read_resources(whole, "a.rcc")
    with pytest.raises(CorekitError, match="holds no /a/three"):
        resources.read("/a/three")
    flags, offset = resources.files["/a/two"]
    resources.files["/a/two"] = flags | 4, offset
    with pytest.raises(CorekitError, match="compressed by Zstandard"):
        resources.read("/a/two")
    broken = whole.replace(whole[offset + 8:offset + 20], bytes(12))
    with pytest.raises(CorekitError, match="cannot be unpacked"):
        read_resources(broken, "a.rcc").read("/a/two")


def test_a_file_that_unpacks_to_more_than_anyone_wants_is_refused(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corekit.data.photographs.qt_resources.MOST_BYTES", 20)
    with pytest.raises(CorekitError, match="larger than 20 bytes"):
        read_resources(resource_file(FILES, compressed=True), "a.rcc").read("/a/two")
