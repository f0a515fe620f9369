"""Notes beside shards, as CLIP_benchmark reads and writes them."""

from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.shards.notes import missing_shards, read_set_names, read_set_type
from corekit.data.shards.webdataset import WebDataset
from corekit.data.shards.writer import write_shards


@pytest.mark.parametrize(("text", "names"), [
    ("a\nb\n", ["a", "b"]), ("a\nb", ["a", "b"]), ("a\n\nc\n", ["a", "", "c"]),
    ("\nb\n\n", ["", "b", ""]), (" a \r\nb\r\n", ["a", "b"]), ("\ufeffa\n", ["a"]), ("", []),
    ("a\x0bb\x85c\u2028d\n", ["a\x0bb\x85c\u2028d"]),
])
def test_every_line_is_a_class_name(text: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_bytes(text.encode())
    (tmp_path / "zeroshot_classification_templates.txt").write_bytes(b"a {c}.\n\n {c} \n")
    assert read_set_names(str(tmp_path)) == (names, ["a {c}.", "{c}"])


def test_names_of_a_set_are_not_those_of_the_folder_above(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("other\n")
    (tmp_path / "set").mkdir()
    assert read_set_names(str(tmp_path / "set")) == ([], [])


def test_the_type_of_a_set_is_one_of_three(tmp_path: Path) -> None:
    assert read_set_type(str(tmp_path)) == "classification"
    (tmp_path / "dataset_type.txt").write_text("Retrieval\n")
    assert read_set_type(str(tmp_path)) == "retrieval"
    (tmp_path / "dataset_type.txt").write_text("captions\n")
    with pytest.raises(CorekitError, match="says 'captions': it must be one of classification, "):
        read_set_type(str(tmp_path))


def test_shards_that_are_counted_and_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "0.tar").touch()
    assert missing_shards(str(tmp_path)) == []
    (tmp_path / "nshards.txt").write_text("3\n")
    assert missing_shards(str(tmp_path)) == ["1.tar", "2.tar"]
    for text, message in (("three\n", "says 'three'"), ("-1", "says '-1'"),
                          ("999999999", "holds 1 of the 999999999 shards")):
        (tmp_path / "nshards.txt").write_text(text)
        with pytest.raises(CorekitError, match=message):
            missing_shards(str(tmp_path))


def test_a_split_is_laid_out_as_clip_benchmark_reads_it(tmp_path: Path) -> None:
    source = OpenMoji(samples=5, size=32, objects=(1, 1))
    write_shards(source, tmp_path, samples_per_shard=2, split="test")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "classnames.txt", "zeroshot_classification_templates.txt", "ATTRIBUTION.md",
        "test/0.tar", "test/1.tar", "test/2.tar", "test/nshards.txt", "test/manifest.json"}
    assert (tmp_path / "test" / "nshards.txt").read_text() == "3\n"
    assert read_set_names(str(tmp_path))[0] == source.class_names
    read = WebDataset(str(tmp_path / "test"))
    assert (read.shard_sizes.tolist(), read.class_names) == ([2, 2, 1], source.class_names)


def test_a_split_of_captions_alone_is_for_retrieval(tmp_path: Path) -> None:
    source = OpenMoji(samples=2, size=32, objects=(1, 1))
    source.fields = ("image", "text")
    write_shards(source, tmp_path, split="test")
    assert (tmp_path / "dataset_type.txt").read_text() == "retrieval\n"
