"""Reinforced shards read: every layout, the right partner, a fair draw, and bad samples counted by
kind.
"""

import gzip
import io
import json
import pickle
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corekit_projects.mobileclip.embeddings import MOST_BYTES, decode_embeddings
from corekit_projects.mobileclip.reinforced import Reinforced
from corekit_projects.mobileclip.replay import Replay

from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, step_batches
from corekit.data.loading.shuffled_order import order_of
from corekit.data.storage import Storage
from corekit.data.tokenizers.clip_bpe import ClipTokenizer
from corekit.data.transforms.preprocess import Preprocess
from tests.conftest import TINY, corekit_command
from tests.projects.mobileclip import reinforced_shards as shards
from tests.projects.mobileclip.reinforced_shards import (
    AUGMENTATIONS,
    CAPTIONS,
    WIDTH,
    reinforcement_members,
    uid_of,
)

NUMBERS = [list(range(7)), list(range(7, 12))]
BATCH, STREAMS = 8, 4


def samples_of(source: Reinforced) -> list[Sample]:
    return [source.decode(handle) for shard, size in enumerate(source.shard_sizes.tolist())
            for handle in source.read(shard, 0, size)]


def read_apart(folder: Path, **arguments: Any) -> Reinforced:
    return Reinforced(str(folder / "images"), str(folder / "reinforcements"), **arguments)


def streams_of(source: Reinforced) -> Streams:
    return Streams(source, order_of(source, STREAMS, 3, 5), FixedSize(BATCH, STREAMS),
                   range(STREAMS), 5, Replay(Preprocess(16, "bilinear", (0, 0, 0), (1, 1, 1))),
                   ClipTokenizer(16))


def says(features: torch.Tensor) -> tuple[int, int, int]:
    """(sample, kind, row) of an embedding."""
    assert features.dtype == torch.float32
    number, kind, row = features[:3].int().tolist()
    return number, kind, row


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("packed", ["npz", "pth.gz"])
@pytest.mark.parametrize("as_string", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_parts_of_a_sample_belong_together(tmp_path: Path, version: int, packed: str,
                                           as_string: bool, apart: bool) -> None:
    layout: dict[str, Any] = {"version": version, "packed": packed, "as_string": as_string}
    if apart:
        shards.write_apart(tmp_path, NUMBERS, [[9, 2, 1], [0, 11, 10, 8], [3, 4, 5, 6, 7]],
                           **layout)
        source = read_apart(tmp_path)
    else:
        shards.write_together(tmp_path, NUMBERS, **layout)
        source = Reinforced(str(tmp_path))
    assert source.shard_sizes.tolist() == [7, 5]
    drawn: Counter[tuple[str, int]] = Counter()
    torch.manual_seed(0)
    for _ in range(4):
        samples = samples_of(source)
        assert [sample["key"] for sample in samples] == [uid_of(number) for number in range(12)]
        for number, sample in enumerate(samples):
            assert set(sample) == {"key", *source.fields}
            augmentation = sample["augmentation"]
            assert augmentation.operations == (("Rotate", 10.0), ("ShearX", -0.3))
            assert says(sample["teacher_image_features"]) == (number, 0, augmentation.crop[0])
            assert says(sample["teacher_text_features"]) == (number, 1, 0)
            assert sample["text"] == f"picture {number}"
            of, kind, caption = says(sample["teacher_synthetic_text_features"])
            assert (of, kind, f"caption {caption} of {number}") == (number, 2,
                                                                    sample["synthetic_text"])
            drawn.update([("augmentation", augmentation.crop[0]), ("caption", caption)])
    assert set(drawn) == {
        *(("augmentation", index) for index in range(AUGMENTATIONS)),
        *(("caption", index) for index in range(CAPTIONS))
    }
    assert min(drawn.values()) > 48 / AUGMENTATIONS / 2, "each is drawn about as often"


@pytest.mark.parametrize("captions", ["real", "synthetic", "one"])
def test_captions_of_one_kind_come_as_text_with_their_own_embeddings(tmp_path: Path,
                                                                     captions: Any) -> None:
    shards.write_together(tmp_path, NUMBERS)
    source = Reinforced(str(tmp_path), captions=captions)
    assert source.fields == ("image", "text", "augmentation", "teacher_image_features",
                             "teacher_text_features")
    kinds = Counter()
    torch.manual_seed(0)
    for number, sample in [(number, sample) for _ in range(4)
                           for number, sample in enumerate(samples_of(source))]:
        of, kind, row = says(sample["teacher_text_features"])
        kinds[kind] += 1
        assert of == number
        assert sample["text"] == (f"picture {number}"
                                  if kind == 1 else f"caption {row} of {number}")
    assert sum(kinds.values()) == 48
    assert {"real": kinds[1] == 48, "synthetic": kinds[2] == 48,
            "one": 12 < kinds[1] < 36}[captions]


def test_only_captions_of_the_pattern_are_taken(tmp_path: Path) -> None:
    members = reinforcement_members(3, 2)
    arrays = {**shards.embeddings(3, 2), "syn_text_dfn_emb": shards.rows(3, 4, 2)}
    members["npz"] = shards.npz(arrays)
    members["syn.json"] = json.dumps(
        {**json.loads(members["syn.json"]), "syn_text_dfn": ["a", "b"]}).encode()
    shards.write_tar(tmp_path / "0.tar", [(uid_of(3), {**members, **shards.picture_members(3)})])
    torch.manual_seed(0)
    for pattern, wanted in (("syn_text", {2}), ("syn_text_dfn", {4}), ("syn_text.*", {2, 4})):
        source = Reinforced(str(tmp_path), synthetic=pattern)
        captions = [
            says(samples_of(source)[0]["teacher_synthetic_text_features"])[1] for _ in range(20)
        ]
        assert set(captions) == wanted


def test_draws_are_the_same_for_any_workers_and_from_any_step_on(tmp_path: Path) -> None:
    shards.write_apart(tmp_path, NUMBERS, NUMBERS)
    streams = streams_of(read_apart(tmp_path))
    whole = list(step_batches(streams, 0, 6, 0))
    for other, first in ((list(step_batches(streams, 0, 6,
                                            2)), 0), (list(step_batches(streams, 4, 6, 0)), 4)):
        for part, wanted in zip(other, whole[first:], strict=True):
            for name, value in wanted.batch.items():
                same = torch.equal(part.batch[name], value) if isinstance(
                    value, torch.Tensor) else part.batch[name] == value
                assert same, name
    batch = whole[0].batch
    assert batch["image"].shape == (BATCH, 3, 16, 16)
    assert batch["text"].shape == batch["synthetic_text"].shape == (BATCH, 16)
    assert torch.equal(batch["synthetic_text"][0], ClipTokenizer(16)(
        f"caption {int(batch['teacher_synthetic_text_features'][0, 2])} of "
        f"{int(batch['teacher_image_features'][0, 0])}")[0])
    drawn = {(key, int(row[2])) for part in whole
             for key, row in zip(part.batch["key"], part.batch["teacher_image_features"])}
    assert len(drawn) > 24, "the augmentation is drawn anew in every pass"


def test_what_has_no_partner_is_left_out_and_counted(tmp_path: Path,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    theirs = [99, 35, 34], list(range(3, 19, 3)), [36, 35]
    shards.write_apart(tmp_path, [list(range(20)), [20, 21], list(range(30, 40))], list(theirs))
    source = read_apart(tmp_path)
    assert source.shard_sizes.tolist() == [6, 0, 3]
    assert [sample["key"] for sample in samples_of(source)
            ] == [uid_of(number) for number in (3, 6, 9, 12, 15, 18, 34, 35, 36)]
    output = caplog.text
    caplog.clear()
    assert "joining the shards" in output
    assert "9 samples" in output
    assert "23 have none, and there are 11 partners" in output
    again = read_apart(tmp_path)
    assert again.fingerprint == source.fingerprint
    assert [sample["key"]
            for sample in samples_of(again)] == [sample["key"] for sample in samples_of(source)]
    assert "joining the shards" not in caplog.text, "the table is kept"
    shards.write_apart(tmp_path, [], [*theirs[:2], [36, 35, 20]])
    assert read_apart(tmp_path).shard_sizes.tolist() == [6, 1, 3], "another set, another table"


def test_a_joined_set_needs_no_right_to_write(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    shards.write_apart(tmp_path, NUMBERS, [[9, 2, 1], [11]])
    monkeypatch.setattr(Storage, "write", lambda *_: False)
    source = pickle.loads(pickle.dumps(read_apart(tmp_path)))
    assert not list(tmp_path.rglob("*.int64"))
    assert [sample["key"]
            for sample in samples_of(source)] == [uid_of(number) for number in (1, 2, 9, 11)]


def test_uids_may_stand_in_the_json_of_the_pictures(tmp_path: Path) -> None:
    shards.write_apart(tmp_path, NUMBERS, [[9, 2, 1], [11]], keys="numbers")
    with pytest.raises(CorekitError, match=r"no sample under .*images has a partner .* is "
                                           r"data.dataset.uid json\?"):
        read_apart(tmp_path)
    samples = samples_of(read_apart(tmp_path, uid="json"))
    assert [(sample["key"], sample["text"]) for sample in samples] == [("000000001", "picture 1"),
                                                                       ("000000002", "picture 2"),
                                                                       ("000010002", "picture 9"),
                                                                       ("000010004", "picture 11")]
    assert [says(sample["teacher_image_features"])[0] for sample in samples] == [1, 2, 9, 11]


def test_a_shard_that_changed_behind_the_table_gives_bad_samples(tmp_path: Path) -> None:
    shards.write_apart(tmp_path, NUMBERS, NUMBERS)
    source = read_apart(tmp_path)
    shards.write_tar(tmp_path / "reinforcements" / "00000.tar",
                     ((uid_of(400 if number == 4 else number), reinforcement_members(number))
                      for number in NUMBERS[0]))
    assert [verdict(source, handle)
            for handle in source.read(0, 0, 7)] == [*["good"] * 4, "uid", "good", "good"]


def verdict(source: Reinforced, handle: Any) -> str:
    try:
        sample = source.decode(handle)
        sample["image"].load()
    except BadSampleError as error:
        return error.kind
    return "good"


class Malice:
    """Something that a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was run",)


def lying_npz() -> bytes:
    """An array whose header promises 2**50 numbers."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**10)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image_emb.npy", header.getvalue())
    return buffer.getvalue()


def inner_bomb() -> bytes:
    """A file of torch's whose tensor is packed once more."""
    saved, buffer = io.BytesIO(), io.BytesIO()
    torch.save({"image_emb": torch.zeros(MOST_BYTES // 4, 1)}, saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(buffer, "w",
                                                          zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    return gzip.compress(buffer.getvalue())


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[], dict[str, bytes]]:
    members = reinforcement_members(1)
    return lambda: {**members, name: json.dumps(change(json.loads(members[name]))).encode()}


def with_arrays(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[], dict[str, bytes]]:
    return lambda: {
        **reinforcement_members(1), "npz": shards.npz(
            {**(arrays := shards.embeddings(1, 1)), **change(arrays)})
    }


def with_torch(content: Callable[[], bytes]) -> Callable[[], dict[str, bytes]]:
    return lambda: {**reinforcement_members(1, packed="pth.gz"), "pth.gz": content()}


def without(name: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {key: value for key, value in reinforcement_members(1).items() if key != name}


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in shards.embeddings(1, 1).items()}


WAYS: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    "no augmentations": (without("paug.json"), "missing_field"),
    "no captions": (without("syn.json"), "missing_field"),
    "no embeddings": (without("npz"), "missing_field"),
    "JSON cut off":
        (lambda: {**reinforcement_members(1), "paug.json": b'{"param_aug": [['}, "json"),
    "JSON without end": (lambda: {**reinforcement_members(1), "syn.json": b"[" * 100_000}, "json"),
    "a list for a mapping": (edited("syn.json", lambda _: ["a"]), "json"),
    "augmentations that are no list": (edited("paug.json",
                                              lambda _: {"param_aug": "not json"}), "augmentation"),
    "augmentations under another name":
        (edited("paug.json", lambda content: {"aug": content["param_aug"]}), "augmentation"),
    "fewer augmentations than rows":
        (edited("paug.json",
                lambda content: {"param_aug": content["param_aug"][1:]}), "augmentation"),
    "an unknown operation":
        (edited("paug.json",
                lambda _: {"param_aug": [[[0, 0, 9, 9], [[77, 0.0]]]] * 4}), "augmentation"),
    "more captions than rows":
        (edited("syn.json",
                lambda content: {"syn_text": [*content["syn_text"], "a"]}), "synthetic_text"),
    "captions of another kind":
        (edited("syn.json", lambda content: {"captions": content["syn_text"]}), "synthetic_text"),
    "an empty caption":
        (edited("syn.json",
                lambda content: {"syn_text": [*content["syn_text"][1:], " "]}), "empty_text"),
    "a caption that is no string":
        (edited("syn.json",
                lambda content: {"syn_text": [*content["syn_text"][1:], 5]}), "empty_text"),
    "another version": (lambda: reinforcement_members(1, version=2), "version"),
    "another width": (lambda: reinforcement_members(1, width=WIDTH + 1), "width"),
    "two widths": (with_arrays(lambda arrays: {"text_emb": arrays["text_emb"][:, :-1]}), "width"),
    "one dimension":
        (with_arrays(lambda arrays: {"image_emb": arrays["image_emb"][0]}), "embeddings"),
    "whole numbers":
        (with_arrays(lambda arrays: {"image_emb": arrays["image_emb"].astype(np.int64)}),
         "embeddings"),
    "not finite":
        (with_arrays(lambda arrays: {"image_emb": arrays["image_emb"] * np.nan}), "embeddings"),
    "objects":
        (with_arrays(lambda _: {"image_emb": np.array([Malice()], dtype=object)}), "embeddings"),
    "half an npz":
        (lambda: {**reinforcement_members(1), "npz": reinforcement_members(1)["npz"][:300]},
         "embeddings"),
    "an npz that lies": (lambda: {**reinforcement_members(1), "npz": lying_npz()}, "embeddings"),
    "an npz bomb": (lambda: {
        **reinforcement_members(1), "npz": shards.npz(
            {"image_emb": np.zeros((MOST_BYTES // 4, 1), np.float32)}, np.savez_compressed)
    }, "bomb"),
    "half a gzip": (with_torch(lambda: shards.pth(tensors())[:-300]), "embeddings"),
    "no gzip": (with_torch(lambda: b"not gzip"), "embeddings"),
    "a gzip bomb":
        (with_torch(lambda: shards.pth({"image_emb": torch.zeros(MOST_BYTES // 4, 1)})), "bomb"),
    "a bomb in the gzip": (with_torch(inner_bomb), "bomb"),
    "a pickle": (with_torch(lambda: shards.pth({**tensors(), "more": Malice()})), "embeddings"),
    "a list of tensors": (with_torch(lambda: shards.pth(list(tensors().values()))), "embeddings"),
}


def test_one_pass_counts_every_bad_sample_once_by_its_kind(tmp_path: Path) -> None:
    bad = [(f"bad{index}", {**way(), **shards.picture_members(1)})
           for index, (way, _) in enumerate(WAYS.values())]
    good = [(uid_of(index), {**reinforcement_members(index), **shards.picture_members(index)})
            for index in range(96 - len(bad))]
    for shard in range(2):
        mixed = [*good[shard::2], *bad[shard::2]]
        random.Random(shard).shuffle(mixed)
        shards.write_tar(tmp_path / f"{shard}.tar",
                         [good[shard], *(sample for sample in mixed if sample is not good[shard])])
    source = Reinforced(str(tmp_path))
    for name, (_, kind) in WAYS.items():
        key = f"bad{list(WAYS).index(name)}"
        handle = next(handle for shard in range(2)
                      for handle in source.read(shard, 0, int(source.shard_sizes[shard]))
                      if handle.key == key)
        assert verdict(source, handle) == kind, name
    parts = list(step_batches(streams_of(source), 0, 96 // BATCH, 2))
    counted = Counter({
        kind: sum(len(part.bad.get(kind, ())) for part in parts) for part in parts
        for kind in part.bad
    })
    wanted = Counter(kind for _, kind in WAYS.values())
    assert counted == wanted
    assert not [key for part in parts for key in part.batch["key"] if key.startswith("bad")]
    assert sum(len(part.batch["key"]) for part in parts) == 96


@pytest.mark.parametrize("packed", ["npz", "pth.gz"])
def test_bytes_changed_anywhere_are_at_worst_a_bad_sample(packed: str) -> None:
    content, chance = reinforcement_members(1, packed=packed)[packed], random.Random(0)
    counts = Counter()
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 20))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try:
            decode_embeddings({packed: bytes(changed)}, "here")
            counts["read"] += 1
        except BadSampleError as error:
            counts[error.kind] += 1
    assert set(counts) <= {"read", "embeddings", "bomb"}
    assert counts["embeddings"] > 50


@pytest.mark.parametrize(("arguments", "message"), [
    ({"captions": "all"}, "captions must be one of"), ({"synthetic": "("}, "is no pattern"),
    ({"augmentations": ("mixup",)}, "not mixup")])
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        Reinforced(None, **arguments)


def test_shards_without_reinforcements_are_told_at_once(tmp_path: Path) -> None:
    shards.write_apart(tmp_path, NUMBERS, [])
    with pytest.raises(CorekitError, match=r"holds no reinforced sample .* no paug.json; "
                                           r"data.dataset.reinforcements names"):
        Reinforced(str(tmp_path / "images"))


RECIPE = (*(word for word in TINY if not word.startswith(("data.dataset", "evaluators"))),
          "~evaluators", "~data.dataset.samples", "~data.dataset.objects", "~data.dataset.detail",
          "~data.transform.scale", "data.transform.name=replay", "data.root=images")


def test_a_recipe_trains_from_joined_shards(tmp_path: Path) -> None:
    numbers = [list(range(40)), list(range(40, 64))]
    shards.write_apart(tmp_path, numbers, [list(range(64))], packed="pth.gz")
    done = corekit_command("corekit-train", *RECIPE, "data.dataset.name=reinforced",
                           "loss.name=reinforced_contrastive", "loss.teacher_widths=[2,4]",
                           "loss.teacher_logit_scales=[100,70]",
                           "data.dataset.reinforcements=reinforcements", folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    records = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    for record in records:
        parts = record["reinforced_contrastive/real"] + record["reinforced_contrastive/synthetic"]
        assert record["loss"] == pytest.approx(parts, rel=1e-6)
        assert record["loss"] > 1
    wrong = corekit_command("corekit-train", *RECIPE, "data.dataset.name=webdataset",
                            "dry_run=true", folder=tmp_path)
    assert wrong.returncode == 2
    assert ("transform `replay` needs `augmentation`; dataset `webdataset` gives caption, image, "
            "key, text") in wrong.stderr
