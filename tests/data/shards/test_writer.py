"""Shards are written once, the same every time, and nothing half-written is ever taken for
whole.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import webdataset
from PIL import Image

from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.shards import writer as shard_writer
from corekit.data.shards.members import default_fields
from corekit.data.shards.webdataset import WebDataset
from corekit.data.shards.writer import write_shards
from corekit.errors import CorekitError


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def source():
    return OpenMoji(samples=25, size=32, objects=(1, 2), annotations=True)


@pytest.fixture(scope="module")
def written(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "made" / "here"
    write_shards(source, folder, samples_per_shard=10)
    return contents(folder)


def test_the_folder_holds_shards_manifest_and_notes(source, written):
    assert set(written) == {
        "000000.tar", "000001.tar", "000002.tar", "manifest.json", "classnames.txt",
        "zeroshot_classification_templates.txt", "ATTRIBUTION.md"
    }
    manifest = json.loads(written["manifest.json"])
    assert manifest["samples"] == 25
    assert [shard["samples"] for shard in manifest["shards"]] == [10, 10, 5]
    for shard in manifest["shards"]:
        assert shard["sha256"] == hashlib.sha256(written[shard["name"]]).hexdigest()
        assert shard["size"] == len(written[shard["name"]])
    assert written["classnames.txt"].decode().splitlines() == source.class_names
    templates = written["zeroshot_classification_templates.txt"].decode().splitlines()
    assert [template.format(c="duck")
            for template in templates] == [t.format("duck") for t in source.templates]
    assert "https://openmoji.org" in written["ATTRIBUTION.md"].decode()
    assert "CC BY-SA 4.0" in written["ATTRIBUTION.md"].decode()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bytes_are_the_same_every_time(source, written, tmp_path, workers):
    write_shards(source, tmp_path, samples_per_shard=10, workers=workers)
    assert contents(tmp_path) == written


@pytest.mark.parametrize("image_format", ["jpg", "png", "webp"])
def test_the_webdataset_library_reads_what_the_source_gave(source, tmp_path, image_format):
    write_shards(source, tmp_path, samples_per_shard=20, image_format=image_format)
    read = list(
        webdataset.WebDataset([str(path) for path in sorted(tmp_path.glob("*.tar"))],
                              shardshuffle=False))
    assert len(read) == 25
    for index, sample in enumerate(read):
        wanted = source.decode(index)
        assert sample["__key__"] == wanted["key"]
        assert sample["txt"].decode() == wanted["text"]
        assert int(sample["cls"]) == wanted["label"]
        notes = json.loads(sample["json"])
        assert {**notes, "annotations": [each.pop("segmentation")["size"]
                                         for each in notes["annotations"]]} == {
            "height": 32, "width": 32, "nouns": wanted["nouns"],
            "annotations": [[32, 32]] * len(wanted["boxes"])}
        assert notes["annotations"] == [
            {"bbox": [left, top, right - left, bottom - top], "category_id": label, "iscrowd": 0}
            for (left, top, right, bottom), label in zip(wanted["boxes"].tolist(),
                                                         wanted["box_labels"].tolist())]
        classes = np.asarray(Image.open(io.BytesIO(
            sample["seg.png" if image_format == "png" else "png"])))
        assert np.array_equal(classes, wanted["segmentation"])
        image = np.asarray(Image.open(io.BytesIO(sample[image_format]))).astype(int)
        assert np.abs(image -
                      np.asarray(wanted["image"])).mean() <= {"png": 0, "jpg": 5,
                                                              "webp": 40}[image_format]


def test_corekit_reads_what_it_wrote(source, tmp_path):
    write_shards(source, tmp_path, samples_per_shard=10, image_format="png")
    read = WebDataset(str(tmp_path))
    assert read.shard_sizes.tolist() == [10, 10, 5]
    sample = read.decode(read.read(1, 3, 1)[0])
    assert sample["text"] == source.decode(13)["text"]
    assert read.class_names == source.class_names


def test_objects_come_back_from_shards_as_they_were(source, tmp_path):
    write_shards(source, tmp_path)
    names = ("image", "boxes", "box_labels", "masks", "iscrowd", "segmentation")
    read = WebDataset(str(tmp_path), fields=default_fields(*names))
    for handle, index in zip(read.read(0, 0, 25), range(25), strict=True):
        sample, wanted = read.decode(handle), source.decode(index)
        for name in names[1:]:
            value = sample[name].draw() if name == "masks" else sample[name]
            assert value.dtype == wanted[name].dtype
            assert np.array_equal(value, wanted[name])


def test_shards_cross_the_shards_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr("corekit.data.datasets.openmoji.dataset._SHARD", 7)
    source = OpenMoji(samples=20, size=32, objects=(1, 1))
    write_shards(source, tmp_path, samples_per_shard=9)
    keys = [
        sample["__key__"] for sample in webdataset.WebDataset(
            [str(path) for path in sorted(tmp_path.glob("*.tar"))], shardshuffle=False)
    ]
    assert keys == [source.decode(index)["key"] for index in range(20)]


def test_a_second_run_writes_nothing(source, tmp_path):
    write_shards(source, tmp_path, samples_per_shard=10)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    write_shards(source, tmp_path, samples_per_shard=10)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")} == times


class Interrupted(OpenMoji):
    """Fails in the middle of the second shard, as a kill would."""

    def decode(self, handle):
        if handle == 14:
            raise KeyboardInterrupt
        return super().decode(handle)


def test_an_interrupted_run_goes_on(source, written, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_shards(Interrupted(samples=25, size=32, objects=(1, 2), annotations=True), tmp_path,
                     samples_per_shard=10)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["000000.tar"]
    assert (tmp_path / "000001.tar.writing").exists()
    first = (tmp_path / "000000.tar").stat().st_mtime_ns
    write_shards(source, tmp_path, samples_per_shard=10)
    assert (tmp_path / "000000.tar").stat().st_mtime_ns == first
    assert contents(tmp_path) == written


def test_what_is_damaged_or_gone_is_written_again(source, written, tmp_path):
    write_shards(source, tmp_path, samples_per_shard=10)
    (tmp_path / "000000.tar").write_bytes(written["000000.tar"][:-512])
    damaged = bytearray(written["000001.tar"])
    damaged[600] ^= 1
    (tmp_path / "000001.tar").write_bytes(damaged)
    (tmp_path / "000002.tar").unlink()
    write_shards(source, tmp_path, samples_per_shard=10)
    assert contents(tmp_path) == written


@pytest.mark.parametrize("change",
                         [{"samples_per_shard": 5}, {"image_format": "png"},
                          {"source": OpenMoji(samples=25, size=32, objects=(1, 2), seed=1)}])
def test_other_arguments_are_refused(source, written, tmp_path, change):
    write_shards(source, tmp_path, samples_per_shard=10)
    with pytest.raises(CorekitError, match="choose another folder"):
        write_shards(**{"source": source, "out": tmp_path, "samples_per_shard": 10, **change})
    assert contents(tmp_path) == written


def test_folders_of_others_are_left_alone(source, tmp_path):
    (tmp_path / "000000.tar").write_bytes(b"theirs")
    with pytest.raises(CorekitError, match="did not write"):
        write_shards(source, tmp_path)
    (tmp_path / "000000.tar").unlink()
    (tmp_path / "manifest.json").write_text("[1, 2]")
    with pytest.raises(CorekitError, match="no manifest"):
        write_shards(source, tmp_path)
    assert (tmp_path / "manifest.json").read_text() == "[1, 2]"


@pytest.mark.parametrize("wrong", [{"samples_per_shard": 0}, {"image_format": "gif"}])
def test_arguments_out_of_range_are_refused(source, tmp_path, wrong):
    with pytest.raises(CorekitError, match=f"{next(iter(wrong))} must be"):
        write_shards(source, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_failure_in_a_worker_is_raised(tmp_path):
    broken = OpenMoji(samples=25, size=32, objects=(1, 1))
    broken.class_names = broken.class_names[:3]
    with pytest.raises(IndexError):
        write_shards(broken, tmp_path, samples_per_shard=10, workers=2)
    assert not list(tmp_path.glob("*.tar"))
    assert shard_writer.Manifest.load(tmp_path / "manifest.json").shards == []
