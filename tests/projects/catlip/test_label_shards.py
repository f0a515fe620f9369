"""From shards to a vocabulary, to labels beside the shards, to training samples: all the same
labels.
"""

import importlib.metadata
import io
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corekit_projects.catlip.dataset import MinedLabels, StoredLabels
from corekit_projects.catlip.jobs import npy
from corekit_projects.catlip.labels import LONGEST, NounLabels
from corekit_projects.catlip.vocabulary import COLUMNS, read_vocabulary
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from corekit.data.datasets.base import LEFT_OUT, BadSampleError, Source
from corekit.data.jobs.driver import run_job
from corekit.data.jobs.manifest import write_tar
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.shards.indexing import build_index
from corekit.data.shards.webdataset import WebDataset
from corekit.errors import CorekitError

CAPTIONS = {  # the second shard has the keys of the first
    "a/0.tar": ["a black dog", "dogs", "of the", "a cat and a dog", "\u72d7", "a street",
                "an image of a cat", "a bird"],
    "b.tar": ["a street with a cat", "A Cat!", "a bird", "hot dogs", "with", "bread",
              "two cats, a bird", "a dog"],
}
# two folders in a shard, with files of the same names
KEYS = [f"{index % 2}/k{index // 2}" for index in range(8)]
EMPTY = {("a/0.tar", KEYS[2]), ("a/0.tar", KEYS[4]), ("b.tar", KEYS[4])}


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(name="shards", autouse=True)
def shards_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    png = picture()
    for name, captions in CAPTIONS.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_tar(tmp_path / "in", name, [{"__key__": key, "png": png, "txt": caption.encode()}
                                          for key, caption in zip(KEYS, captions)])
    return tmp_path / "in"


def vocabulary(**arguments: Any) -> Path:
    run_job("vocabulary", {"threshold": 0, **arguments}, "in", "voc")
    return Path("voc/vocabulary.tsv")


def samples(source: Source) -> dict[tuple[str, str], list[int]]:
    """(shard, key) -> rows."""
    names = list(CAPTIONS)
    return {(names[shard], sample["key"]): sample["label_rows"].tolist()
            for shard, size in enumerate(source.shard_sizes)
            for sample in map(source.decode, source.read(shard, 0, int(size)))}


def test_a_vocabulary_is_what_counting_by_hand_gives() -> None:
    table = vocabulary(threshold=1).read_text().splitlines()
    labels = NounLabels()
    counts = Counter(key for captions in CAPTIONS.values() for caption in captions
                     for key in labels(caption))
    frequent = sorted((-count, key) for key, count in counts.items() if count > 1)
    assert len({count for count, _ in frequent}) < len(frequent), "there are ties"
    assert table[0].split("\t")[:4] == list(COLUMNS)
    assert [(line.split("\t")[0], int(line.split("\t")[3]))
            for line in table[1:]] == [(key, -count) for count, key in frequent]
    assert {line.split("\t")[1] for line in table[1:]} >= {"dog", "cat", "bird", "street"}
    run_job("vocabulary", {"threshold": 1, "size": 2}, "in", "two")
    assert Path("two/vocabulary.tsv").read_text().splitlines() == table[:3]


def test_however_the_work_is_shared_the_bytes_are_the_same() -> None:
    run_job("vocabulary", {"threshold": 0}, "in", "alone")
    for task in (1, 0):
        run_job("vocabulary", {"threshold": 0}, "in", "shared", task=(task, 2))
    alone, shared = ({
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*")
        if path.is_file()
    } for folder in ("alone", "shared"))
    assert alone == shared
    assert "vocabulary.tsv" in alone


@pytest.mark.parametrize("settings", [{}, {"nouns": "tagged"}, {"compounds": True}])
def test_stored_labels_are_those_mined_while_training(settings: dict[str, Any]) -> None:
    path = str(vocabulary(**settings))
    run_job("label", {"vocabulary": path, **settings}, "in", "labels")
    mined = samples(MinedLabels(WebDataset("in"), path, **settings))
    assert samples(StoredLabels("in", "labels", path)) == mined
    assert len(mined) == 16
    row = read_vocabulary(path).row
    labels = NounLabels(**settings)
    assert mined == {(name, key): sorted(row[label] for label in labels(caption))
                     for name, captions in CAPTIONS.items()
                     for key, caption in zip(KEYS, captions)}
    if not settings:
        assert {sample for sample, rows in mined.items() if not rows} == EMPTY


def test_rows_beyond_the_size_are_left_out() -> None:
    path = str(vocabulary())
    run_job("label", {"vocabulary": path, "size": 2}, "in", "labels")
    whole, cut = samples(MinedLabels(WebDataset("in"),
                                     path)), samples(StoredLabels("in", "labels", path, 2))
    assert cut == {sample: [row for row in rows if row < 2] for sample, rows in whole.items()}
    assert StoredLabels("in", "labels", path, 2).num_classes == 2
    for size in (None, 3):
        with pytest.raises(CorekitError, match=r"with another vocabulary than "
                                               r"data\.dataset\.vocabulary, or with another"):
            StoredLabels("in", "labels", path, size)


def streams_of(source: Source) -> Streams:
    return Streams(source, ShuffledOrder(source.shard_sizes, 4, 4, 0), FixedSize(8, 4), range(4), 0,
                   pil_to_tensor, None)


def test_captions_that_name_nothing_are_kept_or_replaced() -> None:
    path = str(vocabulary())
    run_job("label", {"vocabulary": path}, "in", "labels")
    for make in (lambda empty: MinedLabels(WebDataset("in"), path, empty=empty),
                 lambda empty: StoredLabels("in", "labels", path, empty=empty)):
        rows: list[int] = []
        left_out: Counter[str] = Counter()
        for part in step_batches(streams_of(make("drop")), 0, 2, 0):
            rows += part.batch["label_offsets"].diff().tolist()
            left_out.update({kind: len(messages) for kind, messages in part.bad.items()})
        assert (len(rows), left_out) == (16, {LEFT_OUT: len(EMPTY)}), "a pass over all samples"
        assert all(rows)
        parts = list(step_batches(streams_of(make("keep")), 0, 2, 0))
        assert not any(part.bad for part in parts)
        assert sorted(key for part in parts for key in part.batch["key"]) == sorted(2 * KEYS)
        assert make("keep").fingerprint != make("drop").fingerprint


def test_captions_that_cannot_be_read_are_counted(shards: Path) -> None:
    odd: list[Mapping[str, bytes | str]] = [{"__key__": "x0", "png": picture(), "txt": b"a dog"}, {
        "__key__": "x1", "png": picture(), "txt": b"\xff\xfe dog"
    }, {"__key__": "x2", "png": picture(),
        "txt": b"   "}, {"__key__": "x3", "png": picture(), "txt": b"a" * (LONGEST + 1)},
                                            {"__key__": "x4", "png": picture()}]
    write_tar(shards, "b.tar", odd)
    wanted = {"encoding": 1, "empty_text": 1, "long_text": 1, "missing_field": 1}
    assert run_job("vocabulary", {"threshold": 0}, "in", "voc").bad == wanted
    progress = run_job("label", {"vocabulary": "voc/vocabulary.tsv"}, "in", "labels")
    assert (progress.bad, progress.samples) == (wanted, 8 + 1)
    assert StoredLabels("in", "labels",
                        "voc/vocabulary.tsv").shard_sizes.tolist() == [8,
                                                                       1], "the others are left out"
    source = MinedLabels(WebDataset("in"), "voc/vocabulary.tsv")
    with pytest.raises(BadSampleError, match="x3: a caption of 10,001 characters"):
        source.decode(source.read(1, 3, 1)[0])


def test_labels_that_are_none_are_bad_samples(shards: Path) -> None:
    path = str(vocabulary())
    run_job("label", {"vocabulary": path}, "in", "labels")
    rows = len(read_vocabulary(path))
    contents = [
        b"PK\x03\x04 no archive", b"junk",
        npy(np.array([1, 1], np.int32)),
        npy(np.array([rows], np.int32)),
        npy(np.array([-1], np.int32)),
        npy(np.array([[1]], np.int32)),
        npy(np.array([1.0], np.float32)),  # type: ignore[arg-type]
        npy(np.array([0, rows - 1], np.int32))
    ]
    write_tar(Path("labels"), "b.tar",
              [{"__key__": key, "rows.npy": content} for key, content in zip(KEYS, contents)])
    source = StoredLabels("in", "labels", path)
    *bad, good = source.read(1, 0, 8)
    for handle in bad:
        with pytest.raises(BadSampleError, match=r"rows\.npy holds no rows of the vocabulary"):
            source.decode(handle)
    assert source.decode(good)["label_rows"].tolist() == [0, rows - 1]


def test_labels_of_a_file_in_another_folder_are_none_of_this_one(shards: Path) -> None:
    path = str(vocabulary())
    run_job("label", {"vocabulary": path}, "in", "labels")

    def write(keys: list[str]) -> None:
        content = npy(np.array([0], np.int32))
        write_tar(Path("labels"), "b.tar", [{"__key__": key, "rows.npy": content} for key in keys])

    write(KEYS)
    source = StoredLabels("in", "labels", path)
    write([f"{1 - int(key[0])}{key[1:]}" for key in KEYS])  # behind the index
    for handle in source.read(1, 0, 8):
        with pytest.raises(BadSampleError, match="its partner in .* is "):
            source.decode(handle)


def test_what_does_not_fit_is_said(shards: Path) -> None:
    path = str(vocabulary())
    with pytest.raises(CorekitError, match=r"needs data\.dataset\.vocabulary=VOCABULARY; `corekit "
                                           r"data vocabulary` makes it"):
        MinedLabels(WebDataset("in"))
    with pytest.raises(CorekitError, match="has no text to find nouns in; it gives image"):
        MinedLabels(WebDataset("in", fields={"image": "png"}), path)
    with pytest.raises(CorekitError, match=r"needs data\.dataset\.labels=LABELS"):
        StoredLabels("in", None, path)
    with pytest.raises(CorekitError, match=r"in has no manifest\.json of labels"):
        StoredLabels("in", "in", path)
    Path("other.tsv").write_text(Path(path).read_text() + "n00000001\tnothing\tnothing\t1\n")
    for refused in (lambda: MinedLabels(WebDataset("in"), "other.tsv"),
                    lambda: run_job("label", {"vocabulary": "other.tsv"}, "in", "out")):
        with pytest.raises(CorekitError, match="synsets are not in this WordNet"):
            refused()
    assert not Path("out").exists()
    run_job("label", {"vocabulary": path}, "in", "labels")
    shutil.move(shards, "elsewhere")
    (shards / "c").mkdir(parents=True)
    shutil.copy("elsewhere/b.tar", "in/c/b.tar")
    build_index("in")
    with pytest.raises(CorekitError, match=r"in has a partner of its uid under labels: is that the "
                                           r"right folder\?"):
        StoredLabels("in", "labels", path)


def test_a_dry_run_does_without_data() -> None:
    for source in (MinedLabels(WebDataset(None)), StoredLabels(None)):
        assert tuple(source.fields) == ("image", "label_rows")
        assert source.shard_sizes.sum() == 0
        assert source.num_classes is None


def test_labels_of_another_nltk_are_told(caplog: pytest.LogCaptureFixture) -> None:
    path = str(vocabulary())
    run_job("label", {"vocabulary": path}, "in", "labels")
    manifest = Path("labels/manifest.json")
    written = json.loads(manifest.read_text())
    here = written["made_by"]["nltk"]
    assert here == importlib.metadata.version("nltk")
    for version in (here, None, "3.8.1"):  # None: made before it was noted
        manifest.write_text(json.dumps({**written, "made_by": {**written["made_by"],
                                                               "nltk": version}}))
        assert StoredLabels("in", "labels", path).shard_sizes.sum() == 16
    Path("other.tsv").write_text(Path(path).read_text().replace(f"nltk {here}", "nltk 3.9.1", 1))
    MinedLabels(WebDataset("in"), "other.tsv")
    MinedLabels(WebDataset("in"), "other.tsv")  # told once
    warning, of_table = [message for message in caplog.messages if "NLTK" in message]
    assert f"labels, a folder of labels, was made with NLTK 3.8.1, and {here}" in warning
    assert f"vocabulary other.tsv was made with NLTK 3.9.1, and {here}" in of_table
