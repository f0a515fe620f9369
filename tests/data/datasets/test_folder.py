"""Pictures as files: what is a sample, its caption, its class; the same kinds of bad ones as in
shards.
"""

from pathlib import Path

import numpy as np
import pytest

from corekit import CorekitError, registry
from corekit.data.datasets.base import BadSampleError, Source
from corekit.data.datasets.folder import Folder
from corekit.data.transforms.preprocess import Preprocess
from tests.data.damage import jpeg_bomb, png_bomb
from tests.data.loading.test_loader import jpeg

CLASSES = {"dog": 3, "ant": 4, "cat": 2}


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, (name, count) in enumerate(CLASSES.items()):
        for index in range(count):
            place = tmp_path / name / ("deep" if index == 1 else "")
            extension = "JPG" if index else "jpg"
            write(place / f"{index}.v2.{extension}", jpeg(10 * number + index))
            write(place / f"{index}.v2.txt",
                  f"{name} {index}".encode())
    return tmp_path


def samples(source: Source) -> dict[str, dict[str, object]]:
    decoded = [source.decode(handle) for shard, size in enumerate(source.shard_sizes.tolist())
               for first in range(size) for handle in source.read(shard, first, 1)]
    assert len({sample["key"] for sample in decoded}) == len(decoded)
    return {sample["key"]: sample for sample in decoded}


def test_captions_lie_beside_and_classes_are_folders(root: Path) -> None:
    write(root / "notes.md", b"no picture")
    source = registry.build("dataset", "folder",
                            {"fields": {"image": "jpg", "text": "txt", "label": "folder"}},
                            {"root": str(root)})
    assert isinstance(source, Source)
    assert source.fields == ("image", "text", "label")
    assert source.class_names == ["ant", "cat", "dog"]  # type: ignore[attr-defined]
    by_key = samples(source)
    assert by_key.keys() == {
        f"{name}/{'deep/' if index == 1 else ''}{index}.v2" for name, count in CLASSES.items()
        for index in range(count)
    }
    assert by_key["cat/deep/1.v2"]["text"] == "cat 1"
    assert {key: sample["label"] for key, sample in by_key.items()} == {
        key: ["ant", "cat", "dog"].index(key.split("/")[0]) for key in by_key}
    assert np.array_equal(np.asarray(by_key["dog/2.v2"]["image"]), np.asarray(_opened(jpeg(2))))


def _opened(content: bytes) -> object:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(content))


def test_better_class_names(root: Path) -> None:
    fields = {"image": "jpg", "label": "folder"}
    (root / "classnames.txt").write_text("an ant\na cat\na dog\n")
    assert Folder(str(root), fields).class_names == ["an ant", "a cat", "a dog"]
    (root / "classnames.txt").write_text("an ant\n")
    with pytest.raises(CorekitError, match="1 lines for 3 class folders"):
        Folder(str(root), fields)
    write(root / "stray.jpg", jpeg(0))
    with pytest.raises(CorekitError, match="stray.jpg lies in none"):
        Folder(str(root), fields)


def test_the_order_is_always_the_same_and_mixes_classes(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        for index in range(40):
            write(tmp_path / name / f"{index}.png", b"x")
    source = Folder(str(tmp_path), {"image": "png"})
    assert source.names == Folder(str(tmp_path), {"image": "png"}).names
    firsts = [len({name[0] for name in source.names[index:index + 16]})
              for index in range(0, 160, 16)]
    assert min(firsts) >= 3
    before = source.fingerprint
    write(tmp_path / "a" / "0.png", b"xx")
    assert Folder(str(tmp_path), {"image": "png"}).fingerprint != before


def test_the_first_extension_makes_the_picture_of_a_key(tmp_path: Path) -> None:
    write(tmp_path / "x.png", b"not this one")
    write(tmp_path / "x.jpg", jpeg(4))
    write(tmp_path / "x.txt", b"fine")
    by_key = samples(Folder(str(tmp_path), {"image": "jpg;png", "text": "caption;txt"}))
    assert list(by_key) == ["x"]
    assert by_key["x"]["image"].size == (48, 40)  # type: ignore[attr-defined]


def test_captions_in_json_beside_the_picture(tmp_path: Path) -> None:
    for name, text in (("a.json", b'{"caption": "one"}'), ("b.json", b"{}"), ("b.txt", b"two"),
                       ("a.jpg", jpeg(0)), ("b.jpg", jpeg(1))):
        write(tmp_path / name, text)
    for stored in ("txt;json:caption", "json:caption;txt"):
        by_key = samples(Folder(str(tmp_path), {"image": "jpg", "text": stored}))
        assert {key: sample["text"] for key, sample in by_key.items()} == {"a": "one", "b": "two"}


@pytest.mark.parametrize(("content", "names"), [
    (b"\xef\xbb\xbfan ant \r\n a cat\r\ndog\r\n\r\n \r\n", ["an ant", "a cat", "dog"]),
    ("ant\u2028x\ncat\x0b\ndog".encode(), ["ant\u2028x", "cat", "dog"]),
    ("a\nb\n\xfc".encode("latin-1"), None), ("a\nb\nc".encode("utf-16"), None),
])
def test_class_names_as_editors_save_them(root: Path, content: bytes,
                                          names: list[str] | None) -> None:
    (root / "classnames.txt").write_bytes(content)
    fields = {"image": "jpg", "label": "folder"}
    if names is None:
        with pytest.raises(CorekitError, match="classnames.txt is not in UTF-8"):
            Folder(str(root), fields)
    else:
        assert Folder(str(root), fields).class_names == names


@pytest.mark.parametrize(("name", "content", "caption", "kind"), [
    ("x.jpg", jpeg(0)[:300], b"fine", "image"),
    ("x.jpg", b"", b"fine", "image"),
    ("x.jpg", b"<html>", b"fine", "image"),
    ("x.png", png_bomb(), b"fine", "bomb"),
    ("x.jpg", jpeg_bomb(), b"fine", "bomb"),
    ("x.jpg", jpeg(0), b" ", "empty_text"),
    ("x.jpg", jpeg(0), b"caf\xe9", "encoding"),
    ("x.jpg", jpeg(0), None, "missing_field"),
])
def test_bad_samples_have_the_kinds_that_they_have_in_shards(tmp_path: Path, name: str,
                                                             content: bytes, caption: bytes | None,
                                                             kind: str) -> None:
    write(tmp_path / name, content)
    if caption is not None:
        write(tmp_path / "x.txt", caption)
    source = Folder(str(tmp_path))
    with pytest.raises(BadSampleError) as caught:
        Preprocess(16, "bilinear", (0, 0, 0),
                   (1, 1, 1)).crop(source.decode(source.read(0, 0, 1)[0])["image"])
    assert caught.value.kind == kind
    assert caught.value.message.startswith(f"{tmp_path}: x: ")


def test_no_folder_no_pictures_no_root(tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="is not a folder"):
        Folder(str(tmp_path / "nothing"))
    with pytest.raises(CorekitError, match="no file that ends in jpg or"):
        Folder(str(tmp_path))
    assert Folder(None).shard_sizes.sum() == 0
