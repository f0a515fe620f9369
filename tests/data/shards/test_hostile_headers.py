"""What a tar file, a table or a member claims of its size is a bad sample where it is not so, and
no reason to run out of memory.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import MOST_TEXT, Text, find_field
from corekit.data.shards import index as index_module
from corekit.data.shards import members as members_module
from corekit.data.shards.check import check_shard
from corekit.data.shards.index import Index
from corekit.data.shards.indexing import load_index
from corekit.data.shards.join import Join
from corekit.data.shards.members import RawSample, member_of, parse_sample
from corekit.data.shards.scan import scan_shard
from corekit.data.shards.table import hash_offsets
from corekit.data.tokenizers.clip_bpe import ClipTokenizer

HUGE = 100 << 30
END = bytes(2 * tarfile.BLOCKSIZE)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def sparse(extended: bool) -> bytes:
    """A sparse file of GNU's that claims to unpack to 100 GB."""
    block = bytearray(header("bad.txt", 512, tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"00000000000 00000001000 "
    block[482], block[483:495] = extended, tarfile.itn(HUGE, 12, tarfile.GNU_FORMAT)
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return bytes(block) + (b"" if extended else bytes(512))


CLAIMS = {
    "100 GB": header("bad.json", HUGE) + bytes(700),
    "more than a file can have": header("bad.json", 1 << 80) + bytes(700),
    "less than nothing": header("bad.json", -1024) + bytes(700),
    "a long name of 100 GB": header("x", HUGE, tarfile.GNUTYPE_LONGNAME) + bytes(700),
    "a pax header of 100 GB": header("x", HUGE, tarfile.XHDTYPE) + bytes(700),
    "100 GB by a pax header": member("x", b"21 size=107374182400\n", tarfile.XHDTYPE)
                              + member("bad.json", b"{}"),
    "100 GB of holes": sparse(extended=False),
    "holes without an end": sparse(extended=True),
    "names of names": 2000 * member("x", b"y\0", tarfile.GNUTYPE_LONGNAME)
                      + member("bad.json", b"{}"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREKIT_CACHE", str(tmp_path / "cache"))


def shard(folder: Path, claim: bytes) -> Path:
    folder.mkdir()
    good = [member(f"{key}.json", json.dumps({"uid": key}).encode()) for key in "ab"]
    (folder / "0.tar").write_bytes(b"".join([*good, claim, END]))
    return folder


def samples(index: Index) -> Iterator[RawSample]:
    yield from index.read_samples(0, 0, int(index.samples[0]))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_one_bad_sample(tmp_path: Path, claim: str) -> None:
    index = load_index(shard(tmp_path / "shards", CLAIMS[claim]))
    raws = list(samples(index))
    assert [raw.key for raw in raws if raw.bad is None][:1] == ["a"]
    kinds = {raw.bad[0] for raw in raws if raw.bad is not None}
    assert kinds <= {"too_large", "truncated"}
    assert len([raw for raw in raws if raw.bad is not None]) == 1
    assert parse_sample("shard", 0, CLAIMS[claim], len(CLAIMS[claim])).bad is not None
    if claim == "100 GB":
        assert kinds == {"too_large"}
    assert sum(count for count, _ in check_shard(index, 0).bad.values()) >= len(kinds)
    assert Join(index, index, "json").counts.sum() >= 1


class Failing(io.BytesIO):
    """A file of a server that fails in its own way, and notes how much it is asked for."""

    asked, whole = 0, 1024  # bytes

    def read(self, count: int | None = -1) -> bytes:
        self.asked = max(self.asked, count or 0)
        if self.tell() >= self.whole:
            raise ValueError("more bytes than were requested")
        return super().read(count)


def test_a_storage_that_fails_is_no_damage() -> None:
    content = member("a.txt", b"a") + member("b.txt", b"b")
    with pytest.raises(OSError, match="ValueError: more bytes than were requested"):
        scan_shard(Failing(content + END))


def test_no_header_makes_it_read_more_than_there_is() -> None:
    file = Failing(CLAIMS["a pax header of 100 GB"])
    file.whole = len(file.getvalue()) + 1
    assert not scan_shard(file).complete
    assert file.asked <= len(file.getvalue())


def test_a_sample_that_is_too_large_costs_its_neighbours_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a sparse file really has so many bytes: they are not read."""
    for module in (index_module, members_module):
        monkeypatch.setattr(module, "MOST_BYTES", 2000)
    index = load_index(shard(tmp_path / "shards", member("c.txt", bytes(3000))))
    assert [(raw.key, raw.bad and raw.bad[0]) for raw in samples(index)] == [
        ("a", None), ("b", None), ("sample 2", "too_large")]


@pytest.mark.parametrize("table", [
    {"samples": [10**15]}, {"samples": [-1]}, {"samples": ["two"]}, {"bytes": [2.5]},
    {"hashes": [["a"]]}, {"samples": [None]}])
def test_a_table_that_cannot_be_is_not_believed(tmp_path: Path,
                                                table: dict[str, list[object]]) -> None:
    folder = shard(tmp_path / "shards", b"")
    size = (folder / "0.tar").stat().st_size
    columns = {"names": ["0.tar"], "bytes": [size], "samples": [2], "hashes": ["0" * 16]}
    (folder / "index.json").write_text(json.dumps({**columns, **table}))
    assert load_index(folder).samples.tolist() == [2]


@pytest.mark.parametrize("offsets", [np.array([0, 1 << 50, 512]), np.array([-512, 512, 1024]),
                                     np.array([0.0, 512, 1024]), np.array([0, 1024])])
def test_offsets_that_cannot_be_are_not_believed(tmp_path: Path, offsets: np.ndarray) -> None:
    folder = shard(tmp_path / "shards", b"")
    index = load_index(folder)
    index.places[0].write("0.tar.index", _npy(offsets))
    again = Index(index.storage, index.places, index.names, index.sizes, index.samples,
                  [hash_offsets(offsets)])
    with pytest.raises(CorekitError, match="has changed since it was indexed"):
        again.offsets(0)


@pytest.mark.parametrize("start", [
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000000,), }", b"(" * 9000])
def test_an_array_whose_header_claims_too_much_is_none(tmp_path: Path, start: bytes) -> None:
    folder = shard(tmp_path / "shards", b"")
    index = load_index(folder)
    content = b"\x93NUMPY\x02\0" + len(start).to_bytes(4, "little") + start
    for place in index.places:
        place.write("0.tar.index", content)
    assert Index(index.storage, index.places, index.names, index.sizes, index.samples,
                 index.hashes).offsets(0).tolist() == [0, 1024, 2048]


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def test_a_caption_without_an_end_is_a_bad_sample() -> None:
    with pytest.raises(BadSampleError) as bad:
        find_field("text").decode(b"a" * (MOST_TEXT + 1), "shard: key")
    assert bad.value.kind == "too_large"
    tokenizer = ClipTokenizer(8)
    assert tokenizer("word " * 20_000).shape == (1, 8)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"caption": ' + b"[" * 200_000, b"{"])
def test_json_without_an_end_holds_nothing(content: bytes) -> None:
    assert member_of({"json": content}, "json:caption", Text()) is None


def test_half_a_character_is_no_caption() -> None:
    content = member_of({"json": b'{"caption": "\\ud800"}'}, "json:caption", Text())
    assert content is not None
    with pytest.raises(BadSampleError, match="not UTF-8"):
        find_field("text").decode(content, "shard: key")
