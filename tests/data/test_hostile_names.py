"""No name that came from outside leads out of its folder: listings, tables, COCO's file, checksums
and what a job writes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from corekit import CorekitError
from corekit.checkpoint.checksums import CHECKSUMS, damaged_file
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.coco import CocoLabels
from corekit.data.jobs.driver import run_job
from corekit.data.jobs.manifest import write_tar
from corekit.data.storage import Storage
from corekit.files import leaves_folder

OUTSIDE = ("../x.tar", "../../x.tar", "a/../../x.tar", "/etc/x.tar", "a\0b.tar", "..")
INSIDE = ("x.tar", "a/x.tar", "a..b/x..tar", "..x.tar", "a/.../x.tar")


class TheirServer(MemoryFileSystem):
    """Lists names that climb out."""

    protocol = "theirs"
    store: dict[str, Any] = {}

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        folder = path.rpartition("/")[0]
        return {f"{folder}/{name}": {"type": "file", "size": 1024}
                for name in (*OUTSIDE, "x.tar", "a/x.tar")}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COREKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    fsspec.register_implementation("theirs", TheirServer, clobber=True)
    yield
    TheirServer.store.clear()


def test_a_name_leaves_its_folder_or_not() -> None:
    assert all(map(leaves_folder, OUTSIDE))
    assert not any(map(leaves_folder, INSIDE))


def test_a_listing_is_taken_as_far_as_its_names_stay_inside() -> None:
    names = [file.name for file in Storage("theirs://server/set").files("*.tar")]
    assert not any(map(leaves_folder, names))
    assert {"x.tar", "a/x.tar"} <= set(names)


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    assert not Storage(str(tmp_path / "in")).write(name, b"content")
    assert not list(tmp_path.rglob("x.tar"))


def test_a_job_writes_into_its_folder_alone(tmp_path: Path) -> None:
    for folder in ("in", "beside"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder, "0.tar", [{"__key__": "a", "txt": b"a cat"}])
    with pytest.raises(CorekitError, match=r"a shard called \.\./beside/0\.tar, which would be wr"):
        run_job("vocabulary", {}, "in", "deep/out", "../beside/*.tar")
    assert not (tmp_path / "deep").exists()


def test_pictures_that_cocos_file_names_outside_are_bad(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "../secret.jpg"}], "annotations": [],
        "categories": [{"id": 1, "name": "cat"}]}))
    source = CocoLabels(str(tmp_path), "val")
    with pytest.raises(BadSampleError) as bad:
        source.decode(source.read(0, 0, 1)[0])
    assert bad.value.kind == "path"


@pytest.mark.parametrize("sums", [{"../x": 1}, {"/dev/zero": 1}, ["state"], 3])
def test_checksums_name_files_of_the_checkpoint_alone(tmp_path: Path, sums: object) -> None:
    (tmp_path / CHECKSUMS).write_text(json.dumps(sums))
    assert damaged_file(tmp_path) == CHECKSUMS
