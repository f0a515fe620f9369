"""Where indexes lie, which ones are believed, and which folders are not searched unasked."""

import io
import json
import logging
import os
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from corekit import CorekitError
from corekit.cli.main import main
from corekit.data.shards import indexing
from corekit.data.shards.index import Index
from corekit.data.shards.indexing import build_index, load_index
from tests.data.damage import cut
from tests.data.damage import write_tar as write_damaged
from tests.data.loading.test_loader import write_shards


@pytest.fixture(name="cache", autouse=True)
def cache_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COREKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "data", (5, 4))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def keys(index: Index, shard: int = 1) -> list[str]:
    return [raw.key for raw in index.read_samples(shard, 0, int(index.samples[shard]))]


@pytest.fixture(name="scanned")
def scanned_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the shards that were scanned."""
    scanned: list[str] = []
    scan = indexing.scan_stored
    monkeypatch.setattr(indexing, "scan_stored",
                        lambda storage, name: (scanned.append(name), scan(storage, name))[1])
    return scanned


def test_training_writes_nothing_into_a_folder_of_data(root: Path, cache: Path,
                                                       scanned: list[str]) -> None:
    before = names(root)
    first = load_index(root)
    assert names(root) == before
    assert scanned == ["00000.tar", "00001.tar"]
    again = load_index(root)
    assert scanned == ["00000.tar", "00001.tar"], "the cache has them"
    assert again.fingerprint == first.fingerprint
    assert keys(again) == ["010000", "010001", "010002", "010003"]
    assert len(list(cache.rglob("*.index"))) == 2


def test_the_cache_is_believed_for_one_path_size_and_time(root: Path, tmp_path: Path,
                                                          scanned: list[str]) -> None:
    load_index(root)
    shutil.copytree(root, tmp_path / "copy")
    load_index(tmp_path / "copy")
    assert len(scanned) == 4, "another path"
    os.utime(root / "00001.tar", (1, 1))
    load_index(root)
    assert scanned[4:] == ["00001.tar"], "another time, though an earlier one"
    write_shards(root, (5, 6))
    assert load_index(root).samples.tolist() == [5, 6]


def test_only_corekit_data_index_writes_beside_the_shards(
        root: Path, cache: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["corekit", "data", "index", str(root)])
    main()
    assert "2 shards, 9 samples" in capsys.readouterr().out
    assert {"index.json", "00000.tar.index", "00001.tar.index"} <= set(names(root))
    assert json.loads((root / "index.json").read_text())["samples"] == [5, 4]
    assert not cache.exists()
    scanned.clear()
    assert keys(load_index(root)) == ["010000", "010001", "010002", "010003"]
    assert not scanned
    assert not cache.exists()


def test_a_table_that_an_earlier_corekit_wrote_is_read(root: Path, scanned: list[str]) -> None:
    index = build_index(root)
    for shard, name in enumerate(index.names):
        np.save(root / "offsets.npy", index.offsets(shard))
        (root / "offsets.npy").rename(root / f"{name}.index")
    (root / "index.json").write_text(json.dumps({
        "names": index.names, "bytes": index.sizes.tolist(), "samples": index.samples.tolist(),
        "hashes": index.hashes
    }))
    shutil.rmtree(os.environ["COREKIT_CACHE"])
    scanned.clear()
    assert load_index(root).fingerprint == index.fingerprint
    assert not scanned


@pytest.mark.parametrize("theirs", [
    '{"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": []}', "[1, 2]", "no JSON",
    '{"names": ["a"], "bytes": [], "samples": [], "hashes": []}'
])
def test_an_index_of_others_is_never_overwritten(root: Path, scanned: list[str],
                                                 theirs: str) -> None:
    (root / "index.json").write_text(theirs)
    load_index(root)
    built = build_index(root, beside=True)
    assert (root / "index.json").read_text() == theirs
    scanned.clear()
    shutil.rmtree(os.environ["COREKIT_CACHE"])
    assert load_index(root).fingerprint == built.fingerprint
    assert not scanned, "the table lies beside the shards under another name"


def test_folders_that_take_no_files_are_indexed_in_the_cache(
        root: Path, cache: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    write = indexing.Storage.write
    monkeypatch.setattr(
        indexing.Storage, "write",
        lambda self, *rest: self.root.startswith(str(cache)) and write(self, *rest))
    before = names(root)
    build_index(root, beside=True)
    assert "takes no files: the index goes to" in caplog.text
    assert names(root) == before
    scanned.clear()
    assert load_index(root).samples.tolist() == [5, 4]
    assert not scanned


def test_without_a_place_to_write_the_index_is_kept_in_memory(
        root: Path, monkeypatch: pytest.MonkeyPatch, scanned: list[str]) -> None:
    monkeypatch.setattr(indexing.Storage, "write", lambda *_: False)
    index = load_index(root)
    assert keys(index) == ["010000", "010001", "010002", "010003"]
    assert keys(index.alone(1), 0) == ["010000", "010001", "010002", "010003"]
    assert len(scanned) == 2


def test_what_was_indexed_before_an_interruption_is_kept(root: Path, scanned: list[str],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "SAVE_SECONDS", -1)
    scan = indexing.scan_stored
    monkeypatch.setattr(indexing, "scan_stored", lambda storage, name: scan(storage, name)
                        if name == "00000.tar" else pytest.fail("interrupted"))
    with pytest.raises(pytest.fail.Exception):
        build_index(root, beside=True)
    monkeypatch.setattr(indexing, "scan_stored", scan)
    scanned.clear()
    build_index(root, beside=True)
    assert scanned == ["00001.tar"]


def test_a_table_saved_half_way_does_not_vouch_for_the_rest(
        root: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(root, beside=True)
    now = time.time()
    os.utime(root / "index.json", (now - 20, now - 20))
    for name in ("00000.tar", "00001.tar"):
        os.utime(root / name, (now - 10, now - 10))  # changed, as large as before
    monkeypatch.setattr(indexing, "SAVE_SECONDS", -1)
    scan = indexing.scan_stored
    monkeypatch.setattr(indexing, "scan_stored", lambda storage, name: scan(storage, name)
                        if name == "00000.tar" else pytest.fail("interrupted"))
    with pytest.raises(pytest.fail.Exception):
        build_index(root, beside=True)
    monkeypatch.setattr(indexing, "scan_stored", scan)
    scanned.clear()
    load_index(root)
    assert scanned == ["00001.tar"]


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_whole_when_it_was_indexed_keeps_its_samples(
        tmp_path: Path, caplog: pytest.LogCaptureFixture, beside: bool) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_damaged(root / "0.tar", 0, 20, [])
    build_index(root, beside=beside)
    lost = cut(root / "0.tar", 12)
    for _ in range(2):
        caplog.clear()
        index = load_index(root)
        assert index.samples.tolist() == [20]
        assert f"has been cut short: {lost - 1} samples behind" in caplog.text
        assert sum(raw.bad is not None for raw in index.read_samples(0, 0, 20)) == lost


def test_a_folder_that_holds_no_shard_itself_is_not_searched(
        tmp_path: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "data" / "my set" / "a", (5,))
    outer = tmp_path / "data"
    with pytest.raises(CorekitError, match=r"data\.root=.*data holds no shard \(\*\.tar\) itself: "
                                           r"name the folder .* `corekit data index .*data`"):
        load_index(outer)
    assert not scanned
    assert not list(tmp_path.rglob("*.index"))
    assert load_index(outer, "my set/*/*.tar").samples.tolist() == [5], "a pattern is the user's"
    build_index(outer, beside=True)
    assert load_index(outer).samples.tolist() == [5]
    write_shards(tmp_path / "data" / "another", (3,))
    with pytest.raises(CorekitError, match=r"holds 1 shards that are not indexed, such as "
                                           r"another/00000.tar: type `corekit data index"):
        load_index(outer)


def test_more_shards_than_training_indexes_itself(root: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "MOST", 1)
    with pytest.raises(CorekitError, match=r"holds 2 shards that are not indexed, such as "
                                           r"00000.tar: type `corekit data index .*data --shards "
                                           r"'\*.tar'` first"):
        load_index(root, "*.tar")
    build_index(root, "*.tar", beside=True)
    assert load_index(root, "*.tar").samples.tolist() == [5, 4]


def test_processes_index_as_one_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_shards(tmp_path / "data", tuple(range(1, 19)))
    with caplog.at_level(logging.WARNING):
        alone = build_index(root)
    assert f"indexing 18 shards under {root}" in caplog.text
    pool = build_index(root, workers=2, beside=True)
    assert pool.fingerprint == alone.fingerprint
    assert pool.samples.tolist() == list(range(1, 19))


def test_a_file_that_is_no_tar_counts_as_one_bad_sample(
        root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "2.tar").write_bytes(b"x" * 2000)
    index = load_index(root)
    assert index.samples.tolist() == [5, 4, 1]
    assert "2.tar is not a tar file" in caplog.text
    assert index.read_samples(2, 0, 1)[0].bad is not None
    with tarfile.open(root / "2.tar", "w"):
        pass
    assert load_index(root).samples.tolist() == [5, 4, 0]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_keys_are_those_of_the_samples_whatever_their_headers_are(tmp_path: Path,
                                                                  kind: int) -> None:
    names = ["a.txt", "long/" + "b" * 90 + "/" + "c" * 60 + ".txt", "ü.txt"]
    with tarfile.open(tmp_path / "0.tar", "w", format=kind) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    index = load_index(tmp_path)
    assert index.keys(0) == [name.removesuffix(".txt") for name in names]
    assert index.keys(0) == [sample.key for sample in index.read_samples(0, 0, 3)]
