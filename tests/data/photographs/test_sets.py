"""Sets of photographs: what their table says, in the layout of evaluation sets, always the same."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corekit import CorekitError
from corekit.data.photographs import pictures
from corekit.data.photographs.pictures import FOLDERS, GCOMPRIS, STAMPS, photographs
from corekit.data.photographs.sets import SETS, Photographs, write_photographs
from corekit.data.shards.notes import read_set_names, read_set_type
from corekit.data.shards.webdataset import WebDataset
from corekit.evaluation.suite.sets import read_table
from tests.data.photographs.qt_resource_file import resource_file


def encoded(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def unpack_stamps(root: Path) -> None:
    """Every stamp of the list: 4 x 2 pixels, the left half cut out, and its sentence."""
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (2, 0, 4, 2))
    content = encoded(image, "PNG")
    for number, photograph in enumerate(photographs(STAMPS)):
        path = root / FOLDERS[STAMPS] / photograph.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{path.name}.png").write_bytes(content)
        path.with_name(f"{path.name}.txt").write_text(f"Stamp {number}.\nfr.utf8=Tampon.\n")


def unpack_gcompris(root: Path) -> None:
    """Every photograph of the list, and a notice."""
    content = encoded(Image.new("RGB", (4, 2), (0, 0, 255)), "WEBP")
    files: dict[str, dict[str, bytes]] = {}
    for photograph in photographs(GCOMPRIS):
        activity, _, path = photograph.path.partition("/")
        folder = f"/gcompris/src/activities/{activity}/resource"
        files.setdefault(activity, {f"{folder}/README": b"Copyright: Jane"})
        files[activity][f"{folder}/{path}.webp"] = content
    (root / FOLDERS[GCOMPRIS]).mkdir(parents=True)
    for activity, each in files.items():
        (root / FOLDERS[GCOMPRIS] / f"{activity}.rcc").write_bytes(resource_file(each))


def unpack(root: Path, *packages: str) -> Path:
    """A folder with packages."""
    for package in packages:
        {STAMPS: unpack_stamps, GCOMPRIS: unpack_gcompris}[package](root)
        notice = root / "usr/share/doc" / package / "copyright"
        notice.parent.mkdir(parents=True)
        notice.write_text(f"License of {package}\n")
    pictures._resources.cache_clear()
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("photographs")
    write_photographs(unpack(tmp_path_factory.mktemp("packages"), STAMPS, GCOMPRIS), out)
    return out


def test_sets_are_what_their_table_says(written: Path) -> None:
    for each in read_table("photographs"):
        folder = written / each.folders[0]
        field = "text" if each.task == "retrieval" else "label"
        extension = "txt" if field == "text" else "cls"
        source = WebDataset(str(folder / "test"), fields={"image": "jpg", field: extension})
        samples = [source.decode(handle) for handle in source.read(0, 0, int(each.samples or 0))]
        assert len(samples) == each.samples == source.shard_sizes.sum()
        names, templates = read_set_names(str(folder))
        if field == "text":
            assert (read_set_type(str(folder)), names) == ("retrieval", [])
            assert len({sample["text"] for sample in samples}) == each.samples
        else:
            assert len(names) == len(set(names)) == each.classes == len({
                sample["label"] for sample in samples})
            assert all("{c}" in template for template in templates)


def test_pictures_have_their_class_and_lie_on_grey(written: Path) -> None:
    folder = written / "wds_photographs-categories_test"
    source = WebDataset(str(folder / "test"),
                        fields={"image": "jpg", "label": "cls", "metadata": "npy"})
    stamp, whole = (source.decode(source.read(0, place, 1)[0]) for place in (0, -1 + int(
        source.shard_sizes[0])))
    first, last = photographs(STAMPS)[0], photographs(GCOMPRIS)[-1]
    assert [source.class_names[sample["label"]] for sample in (stamp, whole)] == [
        first.category, last.category]
    assert [sample["metadata"].tolist() for sample in (stamp, whole)] == [[0], [1]]
    assert (stamp["image"].size, whole["image"].size) == ((4, 4), (4, 2))
    pixels = np.asarray(Image.open(io.BytesIO(encoded(stamp["image"], "PNG")))).astype(int)
    assert np.abs(pixels[0, :2] - 128).max() < 16


def test_attribution_is_kept(written: Path) -> None:
    text = (written / "wds_photographs-captions_test" / "ATTRIBUTION.md").read_text()
    for notice in (f"License of {STAMPS}", f"License of {GCOMPRIS}", "Copyright: Jane",
                   "explore_monuments/resource/README"):
        assert notice in text


def test_the_same_packages_give_the_same_bytes(tmp_path: Path, written: Path) -> None:
    write_photographs(unpack(tmp_path / "packages", STAMPS), tmp_path / "out", workers=2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "wds_photographs-cutouts_test"], "sets of both packages are left out"
    again = tmp_path / "out" / "wds_photographs-cutouts_test"
    for path in filter(Path.is_file, again.rglob("*")):
        assert path.read_bytes() == (written / path.relative_to(tmp_path / "out")).read_bytes()


def test_pictures_that_are_missing_or_damaged_are_counted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = photographs(STAMPS)[:4]
    root = unpack(tmp_path / "packages", STAMPS)
    monkeypatch.setattr("corekit.data.photographs.sets.photographs", lambda package: few)
    paths = [root / FOLDERS[STAMPS] / f"{each.path}.png" for each in few]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:40])
    source = Photographs(root, SETS[0])
    assert len(source.items) == 4
    monkeypatch.setattr("corekit.data.photographs.sets.SETS", SETS[:1])
    assert write_photographs(root, tmp_path / "out") == {"cutouts": 2}


def test_without_packages_one_sentence_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="apt-get install --no-install-recommends "
                                           "tuxpaint-stamps-default gcompris-qt-data"):
        write_photographs(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
