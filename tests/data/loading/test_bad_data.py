"""Rotten data: whatever is wrong with a sample, the run goes on, and each is counted once and by
its kind.
"""

import io
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.shards.indexing import load_index
from corekit.data.shards.members import tar_members
from corekit.data.shards.webdataset import WebDataset
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess
from tests.conftest import TINY, corekit_command
from tests.data.damage import WAYS, cut, damaged_shards, write_tar
from tests.data.loading.test_loader import add, jpeg

STREAMS, BATCH = 8, 64
FIELDS = {"image": "jpg;png", "text": "txt"}


def streams_of(root: Path, window: int = 16, batch: int = BATCH) -> Streams:
    source = WebDataset(str(root), fields=FIELDS)
    transform = RandomResizedCrop(Preprocess(16, "bilinear", (0, 0, 0), (1, 1, 1)))
    return Streams(source, ShuffledOrder(source.shard_sizes, STREAMS, window, seed=5),
                   FixedSize(batch, STREAMS), range(STREAMS), 5, transform, None)


def verdicts(source: WebDataset) -> list[str]:
    """For each sample of the first shard: its key, or the kind that it is bad of."""
    results = []
    for handle in source.read(0, 0, int(source.shard_sizes[0])):
        try:
            sample = source.decode(handle)
            sample["image"].load()
            results.append(sample["key"])
        except BadSampleError as error:
            results.append(error.kind)
    return results


@pytest.mark.parametrize("workers", [0, 2])
def test_one_pass_counts_every_bad_sample_once_by_its_kind(tmp_path: Path, workers: int) -> None:
    ways = list(WAYS)
    wanted = damaged_shards(tmp_path, 418, {0: ways[:3], 1: ways[3:6], 2: ways[6:10], 3: ways[10:]})
    assert wanted == {
        "image": 3, "bomb": 2, "empty_text": 2, "missing_field": 2, "encoding": 2, "path": 2,
        "duplicate": 1, "truncated": 1 + 6
    }
    streams = streams_of(tmp_path)
    samples = int(streams.source.shard_sizes.sum())
    assert samples == 4 * 418 + 14 + 18 + 24 == 27 * BATCH
    met: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    messages = set()
    for part in step_batches(streams, 0, samples // BATCH, workers):
        assert part.batch["image"].shape == (BATCH, 3, 16, 16)
        drawn.update(part.batch["key"])
        for kind, lines in part.bad.items():
            met[kind] += len(lines)
            messages.update(lines)
    assert met == wanted
    assert len(messages) == sum(wanted.values()), "each names another sample"
    assert not [key for key in drawn if "bad" in key]
    assert len(drawn) == samples - sum(wanted.values()), "every good sample is drawn"
    assert sum(drawn.values()) - len(drawn) == sum(
        wanted.values()), "only what replaces a bad one comes twice"


@pytest.mark.parametrize("step", range(0, 4))
def test_a_shard_may_be_cut_anywhere_before_it_is_indexed(tmp_path: Path, step: int) -> None:
    write_tar(tmp_path / "whole.tar", 0, 6, ["a missing field"])
    content = (tmp_path / "whole.tar").read_bytes()
    whole = WebDataset(str(tmp_path), fields=FIELDS)
    ends = whole.index.offsets(0).tolist()  # type: ignore[union-attr]
    for size in range(700 + 131 * step, ends[-1], 4 * 131):
        folder = tmp_path / f"at{size}"
        folder.mkdir()
        (folder / "cut.tar").write_bytes(content[:size])
        before = sum(end <= size for end in ends[1:])
        results = verdicts(WebDataset(str(folder), fields=FIELDS))
        bad = [kind for kind in results if not kind.startswith("00")]
        assert len(results) - 1 <= before <= len(
            results), "only the sample that was cut is indexed beyond the whole ones"
        assert len(bad) - bad.count("missing_field") <= 1
        if size % 512:  # not between members
            assert results[-1] == "truncated"
        assert len(results) - len(
            bad
        ) >= before - 2, "the one way of damage, and a whole one where the next header was cut"


def test_a_shard_may_be_cut_anywhere_after_it_was_indexed(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", 0, 6, ["a missing field"])
    content = (tmp_path / "0.tar").read_bytes()
    source = WebDataset(str(tmp_path), fields=FIELDS)
    whole = verdicts(source)
    ends = source.index.offsets(0).tolist()[1:]  # type: ignore[union-attr]
    for size in range(0, ends[-1], 777):
        (tmp_path / "0.tar").write_bytes(content[:size])
        again = WebDataset(str(tmp_path), fields=FIELDS)
        assert again.fingerprint == source.fingerprint, "a run goes on after a shard broke"
        wanted = [key if end <= size else "truncated" for key, end in zip(whole, ends)]
        assert verdicts(again) == verdicts(source) == wanted
    (tmp_path / "0.tar").write_bytes(content)
    assert verdicts(WebDataset(str(tmp_path), fields=FIELDS)) == whole


def test_a_shard_that_is_rewritten_shorter_is_another_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", 0, 40, ["a missing field"])
    before = WebDataset(str(tmp_path)).fingerprint
    write_tar(tmp_path / "0.tar", 0, 12, ["a missing field"])
    again = WebDataset(str(tmp_path))
    assert again.shard_sizes.tolist() == [13]
    assert again.fingerprint != before


def test_a_file_that_is_no_tar_counts_as_one(tmp_path: Path,
                                             caplog: pytest.LogCaptureFixture) -> None:
    write_tar(tmp_path / "1.tar", 0, 20, ["a missing field"])
    for content in (b"x" * 3000, b""):
        (tmp_path / "0.tar").write_bytes(content)
        source = WebDataset(str(tmp_path), fields=FIELDS)
        assert source.shard_sizes.tolist() == [1, 21]
        assert verdicts(source) == ["truncated"]
    assert "0.tar is not a tar file" in caplog.text


def test_a_size_below_nothing_does_not_lead_round_in_circles(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for key in ("00", "01", "02"):
            add(archive, f"{key}.txt", b"fine")
    content = bytearray((tmp_path / "0.tar").read_bytes())
    header = content[1024:1536]
    # base 256: -512, which leads back to this very header
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[1024:1536] = header
    (tmp_path / "0.tar").write_bytes(content)
    source = WebDataset(str(tmp_path), fields={"text": "txt"})
    assert source.shard_sizes[0] <= 2
    with pytest.raises((EOFError, tarfile.TarError)):
        tar_members(bytes(content[1024:]))


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_as_tarfile_reads_them(form: int, others: bool) -> None:
    names = ["a.jpg", "deep/er/a.txt", "a." + "x" * 150, "näme.txt"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for index, name in enumerate(names):
            member = tarfile.TarInfo(name if form != tarfile.USTAR_FORMAT else name[:90])
            # webdataset: a fraction
            member.size, member.mtime = 700 * index, 1234.5 if form == tarfile.PAX_FORMAT else 1234
            archive.addfile(member, io.BytesIO(bytes([index]) * member.size))
        for name, kind in (("link.txt", tarfile.SYMTYPE), ("folder",
                                                           tarfile.DIRTYPE)) if others else ():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            archive.addfile(member)
        end = archive.offset
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        wanted = [(member.name, archive.extractfile(member).read()) for member in archive
                  if member.isreg()]  # type: ignore[union-attr]
    assert len(wanted) == 4
    assert tar_members(buffer.getvalue()[:end]) == wanted


def test_where_a_whole_window_is_bad_the_next_best_sample_comes_from_elsewhere(
        tmp_path: Path) -> None:
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", number, 63, ["a missing field"])
    load_index(tmp_path)
    lost = cut(tmp_path / "1.tar", 5)
    batches = []
    for workers in (0, 2):
        parts = list(step_batches(streams_of(tmp_path, window=4, batch=16), 0, 8, workers))
        counts = [len(messages) for part in parts for messages in part.bad.values()]
        assert sum(counts) == lost + 2 - 1
        assert len(parts[-1].bad["truncated"]) <= 16
        batches.append([part.batch["key"] for part in parts])
    assert batches[0] == batches[1]


def test_data_that_is_all_bad_ends_with_a_sentence(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for index in range(40):
            add(archive, f"{index:03d}.jpg", b"")
            add(archive, f"{index:03d}.txt", b"fine")
    with pytest.raises(CorekitError, match="no sample can be read.*0.tar: 0.*: .* it is empty"):
        list(step_batches(streams_of(tmp_path, batch=8), 0, 1, 0))


@pytest.mark.parametrize("name", ["EPS", "PCX", "TGA"])
def test_formats_that_no_data_set_uses_are_refused(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg(0))).save(buffer, name)
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        add(archive, "00.jpg", buffer.getvalue())
        add(archive, "00.txt", b"fine")
    assert verdicts(WebDataset(str(tmp_path), fields=FIELDS)) == ["image"]


def test_a_training_run_on_damaged_shards_ends_and_says_exact_counts(tmp_path: Path) -> None:
    ways = list(WAYS)
    wanted = damaged_shards(tmp_path / "shards", 10,
                            {0: ways[:3], 1: ways[3:6], 2: ways[6:10], 3: ways[10:]})
    common = [word for word in TINY if not word.startswith(("data.dataset.", "evaluators."))]
    words = (*common, "data.root=shards", "data.dataset.name=webdataset", "~data.dataset.samples",
             "~data.dataset.objects", "~data.dataset.detail", "~evaluators", "data.workers=2",
             "data.max_bad_fraction=0.5", "engine.steps=3")
    done = corekit_command("corekit-train", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(wanted.items()))
    assert f"bad samples: {counts}\n" in done.stdout, "3 steps of 32 are one pass over 96 samples"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert Counter(re.findall(r"^bad sample \((\w+)\): shards/\d{5}\.tar: \S", log, re.M)) == wanted
