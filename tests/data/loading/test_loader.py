"""The batch of a step: the same samples, in the same micro-batches, with the same augmentations,
for any ranks and workers, from any step on.
"""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from corekit import CorekitError
from corekit.data.fields import find_fields
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, WorkerBatch, share, split, step_batches
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.shards.indexing import build_index, load_index
from corekit.data.shards.webdataset import WebDataset
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.transforms.geometric import RandomResizedCrop
from corekit.data.transforms.preprocess import Preprocess

BATCH, STREAMS, STEPS = 24, 12, 4


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_shards(folder: Path, sizes: tuple[int, ...] = (17, 30, 25)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as archive:
            for index in range(size):
                key = f"{number:02d}{index:04d}"
                add(archive, f"{key}.jpg", jpeg(100 * number + index))
                add(archive, f"{key}.txt", f"picture {index} of shard {number}".encode())
                add(archive, f"{key}.cls", str(index % 7).encode())
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


def streams_of(root: Path, rank: int, world: int, seed: int = 0) -> Streams:
    source = WebDataset(str(root))
    preprocess = Preprocess(16, "bilinear", (0, 0, 0), (1, 1, 1))
    return Streams(source, ShuffledOrder(source.shard_sizes, STREAMS, 4, seed),
                   FixedSize(BATCH, STREAMS),
                   range(STREAMS)[share(STREAMS, rank, world)], seed,
                   RandomResizedCrop(preprocess, (0.2, 1.0), flip=0.5), ClipTokenizer(16))


def global_batches(root: Path, world: int, workers: int, first: int = 0,
                   seed: int = 0) -> list[WorkerBatch]:
    """Every step's batch, ranks laid side by side."""
    by_rank = [
        list(step_batches(streams_of(root, rank, world, seed), first, STEPS, workers))
        for rank in range(world)
    ]
    joined = []
    for parts in zip(*by_rank):
        batch = {
            name: (torch.cat([part.batch[name]
                              for part in parts]) if isinstance(parts[0].batch[name], torch.Tensor)
                   else [item for part in parts
                         for item in part.batch[name]]) for name in parts[0].batch
        }
        joined.append(
            WorkerBatch(batch, {kind: keys for part in parts for kind, keys in part.bad.items()}))
    return joined


def same(left: list[WorkerBatch], right: list[WorkerBatch]) -> bool:
    return len(left) == len(right) and all(mine.batch["key"] == theirs.batch["key"] and torch.equal(
        mine.batch["image"], theirs.batch["image"])
                                           and torch.equal(mine.batch["text"], theirs.batch["text"])
                                           for mine, theirs in zip(left, right))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_same_batches_for_any_ranks_and_workers(shards: Path, world: int, workers: int) -> None:
    assert same(global_batches(shards, world, workers), global_batches(shards, 1, 0))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_at_any_step(shards: Path, workers: int) -> None:
    assert same(global_batches(shards, 2, workers, first=3), global_batches(shards, 1, 0)[3:])


def test_another_seed_gives_other_batches_and_other_crops(shards: Path) -> None:
    mine, theirs = global_batches(shards, 1, 0), global_batches(shards, 1, 0, seed=1)
    assert not same(mine, theirs)
    first, second = mine[0].batch, global_batches(shards, 1, 0)[0].batch
    assert torch.equal(first["image"], second["image"])
    crops = {row.numpy().tobytes() for part in mine for row in part.batch["image"]}
    assert len(crops) == BATCH * STEPS, "72 samples in 96 draws: those drawn twice are cropped anew"


def test_micro_batches_are_blocks_of_the_batch(shards: Path) -> None:
    batch = global_batches(shards, 1, 0)[0].batch
    parts = split(batch, 3, find_fields(["image", "text", "label"]))
    assert [key for part in parts for key in part["key"]] == batch["key"]
    assert torch.equal(torch.cat([part["image"] for part in parts]), batch["image"])


def test_what_is_decoded_is_what_was_written(shards: Path) -> None:
    source = WebDataset(str(shards), fields={"image": "png;jpg", "text": "txt", "label": "cls"})
    sample = source.decode(source.read(1, 28, 2)[1])
    assert sample["key"] == "010029"
    assert sample["text"] == "picture 29 of shard 1"
    assert sample["label"] == 29 % 7
    assert np.array_equal(np.asarray(sample["image"]),
                          np.asarray(Image.open(io.BytesIO(jpeg(129)))))
    batch = global_batches(shards, 1, 0)[0].batch
    tokens = ClipTokenizer(16)(batch["caption"])
    assert torch.equal(tokens, batch["text"])
    assert [caption.split()[1]
            for caption in batch["caption"]] == [str(int(key[2:])) for key in batch["key"]]


def test_bad_samples_are_counted_named_and_replaced_the_same_way_everywhere(tmp_path: Path) -> None:
    root = write_shards(tmp_path, (30,))
    damaged = {
        "000003": "image", "000007": "missing_field", "000011": "empty_text", "000012": "encoding"
    }
    with tarfile.open(root / "00000.tar", "w") as archive:
        for index in range(30):
            key = f"00{index:04d}"
            kind = damaged.get(key)
            add(archive, f"{key}.jpg", jpeg(index)[:200] if kind == "image" else jpeg(index))
            if kind != "missing_field":
                add(archive, f"{key}.txt", {"empty_text": b"  ",
                                            "encoding": b"\xff\xfe"}.get(kind or "", b"fine"))
    load_index(root)
    one = global_batches(root, 1, 0)
    assert same(one, global_batches(root, 3, 1))
    met = {
        message.split(": ")[1]: kind for part in one for kind, messages in part.bad.items()
        for message in messages
    }
    assert met == damaged
    keys = {key for part in one for key in part.batch["key"]}
    assert not keys & damaged.keys()


def test_the_index_is_made_once_noticed_when_stale_and_not_needed(tmp_path: Path) -> None:
    root = write_shards(tmp_path / "a", (5, 4))
    first = build_index(root, beside=True)
    written = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    assert {"index.json", "00000.tar.index"} <= written.keys()
    assert WebDataset(str(root)).fingerprint == first.fingerprint
    assert {path.name: path.stat().st_mtime_ns for path in root.iterdir()} == written
    write_shards(root, (6, 4))
    assert WebDataset(str(root)).shard_sizes.tolist() == [6, 4]
    assert WebDataset(str(root)).fingerprint != first.fingerprint
    for index in root.glob("*.index"):
        index.write_bytes(b"no index")
    assert WebDataset(str(root)).shard_sizes.tolist() == [6, 4]


@pytest.mark.parametrize(("prepare", "message"), [
    (lambda folder: None, "holds no shard"),
    (lambda folder: (folder / "a.tar").write_bytes(b"x" * 2000), "is not a tar file"),
    (lambda folder: tarfile.open(folder / "a.tar", "w").close(), "hold no samples"),
])
def test_a_folder_without_samples_is_said(tmp_path: Path, prepare: object, message: str) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(CorekitError, match=message):
        WebDataset(str(tmp_path))


def test_streams_must_divide_the_batch() -> None:
    with pytest.raises(CorekitError, match=r"data\.streams=5 must divide engine\.batch_size=24"):
        FixedSize(24, 5)
