"""Tar files as people have them: what macOS adds, files of no sample, captions in JSON, several in
one.
"""

import io
import json
import tarfile
from pathlib import Path

import pytest
import webdataset
from PIL import Image

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.shards.check import Findings, check_index
from corekit.data.shards.indexing import build_index
from corekit.data.shards.webdataset import WebDataset

Members = list[tuple[str, bytes]]


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    return content.getvalue()


def write(path: Path, members: Members) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pairs(count: int, first: int = 0) -> Members:
    return [member for number in range(first, first + count)
            for member in ((f"{number:03d}.png", picture()), (f"{number:03d}.txt", b"a thing"))]


def keys(source: WebDataset) -> list[str]:
    return [source.decode(handle)["key"] for shard, size in enumerate(source.shard_sizes)
            for handle in source.read(shard, 0, int(size))]


def findings(folder: Path) -> Findings:
    all_findings = Findings()
    for part in check_index(build_index(folder)):
        all_findings.add(part)
    return all_findings


@pytest.mark.parametrize("strange", ["._NAME", ".DS_Store", "README", "LICENSE"])
def test_members_of_no_sample_are_left_out_as_webdataset_does(
        tmp_path: Path, strange: str, caplog: pytest.LogCaptureFixture) -> None:
    members: Members = []
    for name, content in pairs(3):
        members += [(f"./{strange.replace('NAME', name)}", b"\0" * 700), (f"./{name}", content)]
    write(tmp_path / "0.tar", members)
    theirs = [sample["__key__"] for sample in webdataset.DataPipeline(
        webdataset.SimpleShardList([str(tmp_path / "0.tar")]), webdataset.tarfile_to_samples())
              if "png" in sample]
    assert keys(WebDataset(str(tmp_path))) == theirs == ["./000", "./001", "./002"]
    assert caplog.text.count("6 members of the shards") == 1


def test_tar_files_put_together_by_cat_are_read_whole(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 3), ("c", 6)):
        write(tmp_path / f"{name}.tar", pairs(3, first))
    together = b"".join((tmp_path / f"{name}.tar").read_bytes() for name in "abc")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "0.tar").write_bytes(together)
    assert keys(WebDataset(str(tmp_path / "all"))) == [f"{number:03d}" for number in range(9)]
    assert not findings(tmp_path / "all").problems()


def test_captions_may_lie_in_json(tmp_path: Path) -> None:
    about = {"caption": "a größer thing", "width": 8, "tags": ["x"]}
    write(tmp_path / "0.tar", [("0.png", picture()), ("0.json", json.dumps(about).encode()),
                               ("1.png", picture()), ("1.json", b'{"width": 8}'),
                               ("2.png", picture()), ("2.json", b"{")])
    source = WebDataset(str(tmp_path))
    handles = source.read(0, 0, 3)
    assert source.decode(handles[0])["text"] == "a größer thing"
    for handle in handles[1:]:
        with pytest.raises(BadSampleError, match="no txt or json:caption for text; it has png"):
            source.decode(handle)
    other = WebDataset(str(tmp_path), fields={"image": "png", "text": "json:tags"})
    with pytest.raises(BadSampleError, match="no json:tags for text"):  # which one is it?
        other.decode(handles[0])
    with pytest.raises(CorekitError, match="train on the JSON itself.*fields.text=json:caption"):
        WebDataset(str(tmp_path), fields={"image": "png", "text": "json"})


@pytest.mark.parametrize(("root", "shards", "expected"), [
    ("{000..001}.tar", None, ["000", "001"]), ("000.tar", None, ["000"]),
    ("", "{000..001}.tar", ["000", "001"]), ("", "{001,002}.tar", ["001", "002"]),
])
def test_shards_are_named_as_open_clip_names_them(tmp_path: Path, root: str, shards: str | None,
                                                  expected: list[str]) -> None:
    for number in range(3):
        write(tmp_path / f"{number:03d}.tar", pairs(1, number))
    words = {} if shards is None else {"shards": shards}
    assert keys(WebDataset(f"{tmp_path}/{root}".rstrip("/"), **words)) == expected


def test_compressed_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0.tar.gz").write_bytes(b"x")
    for words in ({}, {"shards": "*.tar.gz"}):
        with pytest.raises(CorekitError, match="0.tar.gz is compressed"):
            WebDataset(str(tmp_path), **words)


def test_a_check_counts_a_sample_once_and_demands_pictures(tmp_path: Path) -> None:
    write(tmp_path / "one" / "0.tar", [("00a.json", b"{}"), *pairs(9)])
    problems = findings(tmp_path / "one").problems()
    assert problems["missing_field"][0] == 1
    assert problems["missing_field"][1][0].endswith(
        "00a: no jpg or jpeg or png or webp for image; no txt or json:caption for text; "
        "it has json")
    unsorted = sorted(pairs(4), key=lambda member: member[0][-3:])
    renamed = [(name.replace(".png", ".input.png"), content) for name, content in pairs(4)]
    for name, members, bad in (("unsorted", unsorted, 4), ("renamed", renamed, 4)):
        write(tmp_path / name / "0.tar", members)
        assert findings(tmp_path / name).problems()["missing_field"][0] == bad


@pytest.mark.parametrize(("caption", "kind"), [
    (b'["a", "b"]', "missing_field"), (b'{"en": "a"}', "missing_field"), (b"3", "missing_field"),
    (b"NaN", "missing_field"), (b"null", "missing_field"), (b'""', "empty_text"),
    (rb'"\ud800"', "encoding"), (b"[" * 100_000, "missing_field")])
def test_json_is_never_a_caption_itself(tmp_path: Path, caption: bytes, kind: str) -> None:
    write(tmp_path / "0.tar", [("0.png", picture()), ("0.json", b'{"caption": ' + caption + b"}")])
    source = WebDataset(str(tmp_path))
    with pytest.raises(BadSampleError) as caught:
        source.decode(source.read(0, 0, 1)[0])
    assert caught.value.kind == kind


def test_extensions_as_people_type_them(tmp_path: Path) -> None:
    write(tmp_path / "0.tar", [("0.JPG", picture()), ("0.txt", "\ufeffone".encode())])
    source = WebDataset(str(tmp_path), fields={"image": ".JPG; png", "text": ".txt"})
    assert source.decode(source.read(0, 0, 1)[0])["text"] == "one", "without the mark before it"
    with pytest.raises(CorekitError, match="would train on the JSON itself"):
        WebDataset(None, fields={"text": "json:"})
