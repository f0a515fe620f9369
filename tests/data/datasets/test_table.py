"""Lists of pictures and captions: CSV, TSV and parquet, as people have them."""

import sys
from pathlib import Path
from typing import Any

import pytest

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.datasets.table import Table
from corekit.data.storage import Storage
from tests.conftest import corekit_command
from tests.data.loading.test_loader import jpeg


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a b").mkdir()
    for name in ("1.jpg", "a b/2.jpg", "é,3.jpg"):
        (tmp_path / name).write_bytes(jpeg(len(name)))
    return tmp_path


def table(folder: Path, content: str | bytes, **arguments: Any) -> Table:
    path = folder / arguments.pop("name", "pairs.csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Table(str(path), **arguments)


def samples(source: Table) -> dict[str, Any]:
    """key -> its caption, or the kind of bad sample that it is."""
    result = {}
    for handle in source.read(0, 0, int(source.shard_sizes.sum())):
        try:
            sample = source.decode(handle)
            result[sample["key"]] = sample.get("text", sample.get("label"))
        except BadSampleError as error:
            result[source.key_of(handle)] = error.kind
    return result


@pytest.mark.parametrize(("head", "separator"), [
    ("filepath,title", ","), ("image\ttext", "\t"), ("\ufeffimage_path;Caption;x", ";"),
    ("file_name|caption", "|"), (" File , TEXT ", ","),
])
def test_columns_separators_and_quotes(folder: Path, head: str, separator: str) -> None:
    cells = separator.join(["1.jpg", f'"one{separator} ""two""\nlines"', "x"][:2 + (";x" in head)])
    rest = separator.join(['"é,3.jpg"', "drei", "x"][:2 + (";x" in head)])
    found = samples(table(folder, f"{head}\r\n{cells}\r\n\r\n{rest}"))
    assert found == {"1.jpg": f'one{separator} "two"\nlines', "é,3.jpg": "drei"}


def test_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "a b"))
    rows = ["./1.jpg", "~/2.jpg", f"{folder}/a b/2.jpg", "a b/../1.jpg", "nowhere.jpg", "a b",
            "http://x/1.jpg", "", "x" * 300, "nul\0.jpg", "/dev/zero"]
    found = samples(table(folder, "image,text\n" + "".join(f"{row},t\n" for row in rows)))
    assert [key for key, text in found.items() if text == "t"].sort() == rows[:4].sort()
    bad = dict.fromkeys(rows[4:], "missing_file")
    assert {key: kind for key, kind in found.items() if kind != "t"} == {
        **{key: kind for key, kind in bad.items() if key}, "http://x/1.jpg": "path",
        "row 8": "missing_field"}


def test_bad_rows_are_bad_samples(folder: Path) -> None:
    content = (b"image,text\n1.jpg,\n1.jpg,one, two\na b/2.jpg,caf\xe9\n1.jpg\n\xe9.jpg,t\n")
    found = samples(table(folder, content))
    assert found == {"1.jpg": "missing_field", "row 2": "columns", "a b/2.jpg": "encoding",
                     "row 4": "columns", "\\udce9.jpg": "missing_file"}


@pytest.mark.parametrize(("content", "arguments", "message"), [
    ("url,text\nx,y\n", {}, r"no column image or filepath.* its columns are url, text: .*fields"),
    ("image,text\nx,y\n", {"fields": {"image": "image", "text": "title"}}, "no column title"),
    ("image,text,text\nx,y,z\n", {}, "two columns called text"),
    ("image,text\n", {}, "no rows"), ("", {}, "no column"),
    ("image,text\nx,y\n".encode("utf-16"), {}, "no text in UTF-8"),
    ("größe,text\n".encode("latin-1"), {}, "no text in UTF-8"),
    (b"\x1f\x8b\x08\0\0\0", {}, "no text in UTF-8"),
    ('image,text\nx,"' + "y" * 140_000, {}, "cannot be read beyond line 2: .*quote"),
    ("image,text\nx,y\n", {"separator": "::"}, "one character"),
])
def test_what_is_no_table_is_one_sentence(folder: Path, content: str | bytes,
                                          arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        table(folder, content, **arguments)


def test_where_the_table_is_not(folder: Path) -> None:
    with pytest.raises(CorekitError, match="is not a file: name the table itself"):
        Table(str(folder))
    with pytest.raises(CorekitError, match=r"not a folder; .*data.dataset.name=table"):
        Storage(str(folder / "x.csv")).files("*")
    assert Table(None).shard_sizes.sum() == 0


def test_classes_by_name(folder: Path) -> None:
    fields = {"image": "id", "label": "class"}
    content = "id,class\n1.jpg,dog\na b/2.jpg,cat\n"
    source = table(folder, content, fields=fields)
    assert source.class_names == ["cat", "dog"]
    assert samples(source) == {"1.jpg": 1, "a b/2.jpg": 0}
    (folder / "classnames.txt").write_text("dog\nowl\ncat\n")
    assert samples(table(folder, content, fields=fields)) == {"1.jpg": 0, "a b/2.jpg": 2}
    (folder / "classnames.txt").write_text("dog\n")
    with pytest.raises(CorekitError, match="class 'cat', which classnames.txt has not"):
        table(folder, content, fields=fields)
    numbers = table(folder, "id,class\n1.jpg,3.0\na b/2.jpg,10\n", fields=fields)
    assert samples(numbers) == {"1.jpg": 3, "a b/2.jpg": 10}


def test_rows_of_one_picture_may_be_one_sample(folder: Path) -> None:
    content = 'image,text\n1.jpg,one\na b/2.jpg,two\n1.jpg,"also\none"\nx\n1.jpg,\n'
    source = table(folder, content, group=True)
    assert samples(source) == {"1.jpg": "one\nalso one", "a b/2.jpg": "two", "row 4": "columns"}
    assert source.fingerprint != table(folder, content).fingerprint


def test_another_order_has_another_fingerprint(folder: Path) -> None:
    rows = [f"{number}.jpg,{number}\n" for number in range(2100)]
    source, again = (table(folder, "image,text\n" + "".join(rows)) for _ in range(2))
    assert source.shard_sizes.tolist() == [1000, 1000, 100]
    assert source.fingerprint == again.fingerprint
    keys = [handle.key for shard in range(3)
            for handle in source.read(shard, 0, int(source.shard_sizes[shard]))]
    assert sorted(keys, key=lambda key: int(key[:-4])) == [row.split(",")[0] for row in rows]
    assert max(int(key[:-4]) for key in keys[:16]) > 1000, "neighbours are mixed"
    assert table(folder, "image,text\n" + "".join(rows[::-1])).fingerprint != source.fingerprint


def test_parquet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "pairs.parquet"
    path.write_bytes(b"PAR1, not really")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CorekitError, match=r"pip install 'corekit\[parquet\]'"):
        Table(str(path))
    monkeypatch.undo()
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    with pytest.raises(CorekitError, match="cannot be read as parquet"):
        Table(str(path))
    images = [{"bytes": jpeg(1), "path": None}, {"bytes": None, "path": "1.jpg"}, None]
    parquet.write_table(pyarrow.table({"image": images, "caption": ["a", "b", "c"],
                                       "big": [1, 2, 3]}), path)
    assert samples(Table(str(path))) == {"row 1": "a", "1.jpg": "b", "row 3": "missing_field"}
    with pytest.raises(CorekitError, match=r"its columns are image, caption, big"):
        Table(str(path), {"image": "filepath"})


def test_the_check_of_a_table(folder: Path) -> None:
    table(folder, "photo,words\n1.jpg,one\nnowhere.jpg,two\n",
          fields={"image": "photo", "text": "words"})
    done = corekit_command("corekit", "data", "check", "pairs.csv", "--fields", "image=photo",
                           "text=words", folder=folder)
    assert done.returncode == 1, done.stderr
    assert "2 samples in pairs.csv" in done.stdout
    assert "missing_file: 1\n    ./pairs.csv: row 2: nowhere.jpg: there is no such" in done.stdout
