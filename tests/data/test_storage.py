"""Shards that lie elsewhere: read through fsspec, tried again when that fails, an error that names
the shard at last.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from corekit import CorekitError
from corekit.data import storage
from corekit.data.datasets.folder import Folder
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.shards.indexing import build_index, load_index
from corekit.data.shards.webdataset import WebDataset
from corekit.data.storage import Storage
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess
from tests.data.loading.test_loader import jpeg, write_shards

STREAMS, BATCH = 6, 12


class Flaky(MemoryFileSystem):
    """Memory whose next reads fail, as servers do for a while; or to which nothing can be
    written.
    """

    protocol = "flaky"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    failures = 0
    writable = True

    def cat_file(self, path: str, **options: Any) -> bytes:
        if path.endswith(".tar") and Flaky.failures > 0:
            Flaky.failures -= 1
            raise ConnectionResetError("by the peer")
        content: bytes = super().cat_file(path, **options)
        return content

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        if not Flaky.writable:
            raise PermissionError(path)
        super().pipe_file(path, value, **options)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.001)
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.failures, Flaky.writable = 0, True
    yield "flaky://bucket/shards"
    Flaky.store.clear()
    Flaky.pseudo_dirs[:] = [""]


def upload(folder: Path, root: str) -> str:
    system, path = fsspec.core.url_to_fs(root)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in (".json", ".index"):
            system.pipe_file(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return root


def batches(root: str, workers: int = 0) -> list[dict[str, Any]]:
    source = WebDataset(root)
    transform = RandomResizedCrop(Preprocess(16, "bilinear", (0, 0, 0), (1, 1, 1)))
    streams = Streams(source, ShuffledOrder(source.shard_sizes, STREAMS, 4, 0),
                      FixedSize(BATCH, STREAMS), range(STREAMS), 0, transform, None)
    return [part.batch for part in step_batches(streams, 0, 4, workers)]


def equal(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> bool:
    return len(mine) == len(theirs) and all(
        one["key"] == other["key"] and one["text"] == other["text"]
        and torch.equal(one["image"], other["image"]) for one, other in zip(mine, theirs))


@pytest.mark.parametrize("workers", [0, 1])
def test_remote_shards_give_the_batches_that_local_ones_do(tmp_path: Path, flaky: str,
                                                           workers: int) -> None:
    write_shards(tmp_path / "a", (17, 9))
    (tmp_path / "a" / "classnames.txt").write_text("one\ntwo\n")
    upload(tmp_path / "a", flaky)
    local = batches(str(tmp_path / "a"))
    assert equal(batches(flaky, workers), local)
    assert equal(batches(f"file://{tmp_path / 'a'}", workers), local)
    assert WebDataset(flaky).fingerprint == WebDataset(str(tmp_path / "a")).fingerprint
    assert WebDataset(flaky).class_names == ["one", "two"]


def test_a_remote_index_is_written_once_where_that_is_allowed(
        tmp_path: Path, flaky: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREKIT_CACHE", str(tmp_path / "cache"))
    upload(write_shards(tmp_path, (5, 4)), flaky)
    Flaky.writable = False
    assert build_index(flaky, beside=True).samples.tolist() == [5, 4]
    assert not [name for name in Flaky.store if name.endswith((".json", ".index"))]
    handles = WebDataset(flaky).read(1, 1, 2)
    assert [handle.key for handle in handles] == ["010001", "010002"]
    Flaky.writable = True
    index = build_index(flaky, beside=True)
    assert {name.rsplit("/", 1)[1] for name in Flaky.store} == {
        "00000.tar", "00001.tar", "00000.tar.index", "00001.tar.index", "index.json"}
    monkeypatch.setattr("corekit.data.shards.scan.scan_shard", lambda file: pytest.fail("scanned "
                                                                                         "again"))
    monkeypatch.setenv("COREKIT_CACHE", str(tmp_path / "another"))
    assert load_index(flaky).fingerprint == index.fingerprint
    assert json.loads(fsspec.open(f"{flaky}/index.json").open().read())["samples"] == [5, 4]


def test_what_fails_for_a_while_is_tried_again(tmp_path: Path, flaky: str) -> None:
    upload(write_shards(tmp_path, (17, 9)), flaky)
    wanted = batches(flaky)
    Flaky.failures = 3
    assert equal(batches(flaky), wanted)
    assert Flaky.failures == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_what_fails_every_time_ends_the_run_and_names_the_shard(tmp_path: Path, flaky: str,
                                                                workers: int) -> None:
    upload(write_shards(tmp_path, (17, 9)), flaky)
    WebDataset(flaky)
    Flaky.failures = 10_000
    with pytest.raises(CorekitError, match=r"flaky://bucket/shards/0000\d\.tar cannot be read, "
                                           r"tried 4 times: "
                                           "ConnectionResetError: by the peer"):
        batches(flaky, workers)


def test_a_local_shard_that_vanishes_is_no_bad_sample(tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.001)
    source = WebDataset(str(write_shards(tmp_path, (5,))))
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(CorekitError, match=r"00000\.tar cannot be read, tried 4 times: "
                                           r"FileNotFoundError"):
        source.read(0, 0, 5)


def test_what_cannot_be_reached_is_said(flaky: str) -> None:
    with pytest.raises(CorekitError,
                       match=r"notaprotocol://x cannot be reached.*fsspec driver"):
        WebDataset("notaprotocol://x")
    with pytest.raises(CorekitError, match=r"data\.root=flaky://bucket/nothing holds no shard"):
        WebDataset("flaky://bucket/nothing")


def test_a_remote_folder_of_pictures(tmp_path: Path, flaky: str) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(3):
            (tmp_path / name / f"{index}.jpg").write_bytes(jpeg(index))
    upload(tmp_path, flaky)
    fields = {"image": "jpg", "label": "folder"}
    mine, theirs = Folder(flaky, fields), Folder(str(tmp_path), fields)
    assert mine.fingerprint == theirs.fingerprint
    assert [mine.decode(handle)["label"] for handle in mine.read(0, 0, 6)] == [
        theirs.decode(handle)["label"] for handle in theirs.read(0, 0, 6)]


def test_a_run_starts_from_one_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path, (5, 4, 3))
    first = build_index(tmp_path, beside=True)
    opened: list[str] = []

    def recorded(read: Callable[..., bytes | None]) -> Callable[..., bytes | None]:
        def record(self: Storage, name: str, *rest: int) -> bytes | None:
            if self.root == str(tmp_path):
                opened.append(name)
            return read(self, name, *rest)

        return record

    for method in ("read", "read_if_there"):
        monkeypatch.setattr(Storage, method, recorded(getattr(Storage, method)))
    again = load_index(tmp_path)
    assert opened == ["index.json"], (
        "no offsets and no shard: at 130,000 shards these would be ten gigabytes")
    assert again.fingerprint == first.fingerprint
    again.read_samples(1, 0, 4)
    again.read_samples(1, 2, 2)
    assert opened == ["index.json", "00001.tar.index", "00001.tar", "00001.tar"]
    for index in range(3):
        (tmp_path / f"0000{index}.tar.index").unlink()
    assert [handle.key
            for handle in load_index(tmp_path).read_samples(2, 1, 2)] == ["020001", "020002"]


def test_links_are_followed_and_hidden_names_left_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / ".hidden").mkdir(parents=True)
    for name in ("elsewhere/b.tar", "data/a.tar", "data/.c.tar", "data/.hidden/d.tar"):
        (tmp_path / name).write_bytes(b"tar")
    (tmp_path / "data" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "file.tar").symlink_to(tmp_path / "elsewhere" / "b.tar")
    (tmp_path / "data" / "nowhere.tar").symlink_to("/nowhere")
    assert [(file.name, file.size) for file in Storage(str(tmp_path / "data")).files("**/*.tar")
            ] == [("a.tar", 3), ("file.tar", 3), ("folder/b.tar", 3)]


def test_a_folder_may_be_named_from_the_home(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_shards(tmp_path / "shards", (3,))
    assert Storage("~/shards").is_folder()
    assert WebDataset("~/shards").shard_sizes.tolist() == [3]


@pytest.mark.parametrize("root", [
    "reference://theirs.json", "REFERENCE://theirs.json", "reference::http://server/theirs.json",
    "simplecache::memory://a", "zip://a::memory://a.zip", "memory://a::memory://b", "dir://a",
    "filecache://a"])
def test_a_place_that_leads_to_others_is_refused(root: str) -> None:
    """A file of references is a program in disguise: its templates were run."""
    with pytest.raises(CorekitError, match="leads to its files by way of others"):
        Storage(root)


def test_a_folder_may_be_called_like_two_places(tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("reference::a", "simplecache::b"):
        Path(name).mkdir()
        Path(name, "a.tar").write_bytes(b"here")
        assert [file.name for file in Storage(name).files("*.tar")] == ["a.tar"]
        assert Storage(str(tmp_path / name)).read("a.tar") == b"here"
