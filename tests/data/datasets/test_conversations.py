"""Conversations beside a folder of pictures, in shards, and damaged in every way."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from corekit.cli.data import _print_findings
from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.conversations import Conversations
from corekit.data.datasets.mixture import Mixture
from corekit.data.datasets.openmoji.questions import OpenMojiQuestions
from corekit.data.fields import find_field
from corekit.data.image_grid import batch_grid
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.collate import join, split
from corekit.data.loading.loader import Streams
from corekit.data.loading.shuffled_order import ShuffledOrder
from corekit.data.shards.check import Findings, check_index, picture_of
from corekit.data.shards.check_source import check_source, source_picture
from corekit.data.shards.indexing import load_index
from corekit.data.shards.webdataset import WebDataset
from corekit.data.shards.writer import write_shards
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from tests.data.loading.test_loader import add, jpeg
from tests.data.tokenizers.chat_folders import write_tokenizer

FIELDS = {"pictures": "jpg;png", "conversation": "json"}


def item(images: Any, question: str = "What?") -> dict[str, Any]:
    image = {} if images is None else {"image": images}
    return {"id": "same", **image, "conversations": [{"from": "human", "value": question},
                                                     {"from": "gpt", "value": "é"}]}


ITEMS = [item("a/0.jpg", "What?\n<image>"), item(None),
         item(["a/1.jpg", "2.png"], "<image> <image>?"), item("2.png"),
         {"images": ["a/1.jpg"], "texts": [{"user": "Why?", "assistant": "b"}]}]


def write_folder(root: Path, items: list[Any]) -> Path:
    (root / "a").mkdir(parents=True)
    for number in range(2):
        (root / "a" / f"{number}.jpg").write_bytes(jpeg(number))
    Image.open(io.BytesIO(jpeg(2))).save(root / "2.png")
    (root / "conversations.json").write_text(json.dumps(items), encoding="utf-8")
    return root


def samples_of(source: Conversations | WebDataset) -> dict[str, Sample]:
    read = [source.decode(handle) for shard, count in enumerate(source.shard_sizes.tolist())
            for handle in source.read(shard, 0, count)]
    return {sample["key"]: sample for sample in sorted(read, key=lambda sample: sample["key"])}


def pixels(sample: Sample) -> list[list[int]]:
    return [np.asarray(picture).ravel().tolist() for picture in sample["pictures"]]


def test_items_are_read_from_a_list_and_from_lines(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ITEMS)
    source = Conversations(str(root))
    samples = samples_of(source)
    assert list(samples) == [f"{number:08d}" for number in range(5)]
    assert [len(sample["pictures"]) for sample in samples.values()] == [1, 0, 2, 1, 1]
    assert [sample["conversation"][0] for sample in samples.values()] == [
        Message("user", text) for text in ("<image>\nWhat?", "What?", "<image> <image>?", "What?",
                                           "Why?")]
    assert pixels(samples["00000002"]) == [
        np.asarray(Image.open(file)).ravel().tolist()
        for file in (root / "a" / "1.jpg", root / "2.png")]
    lines = tmp_path / "elsewhere.jsonl"
    lines.write_text("\n".join(map(json.dumps, ITEMS)), encoding="utf-8")
    other = Conversations(str(root), annotations=str(lines))
    assert [each["conversation"] for each in samples_of(other).values()] == [
        each["conversation"] for each in samples.values()]
    assert other.name == "elsewhere"
    lines.write_text(f"{lines.read_text(encoding='utf-8')}\nnone\n", encoding="utf-8")
    with pytest.raises(BadSampleError, match=r"elsewhere.jsonl: item 5: conversation is no JSON"):
        samples_of(Conversations(str(root), annotations=str(lines)))
    assert other.fingerprint != source.fingerprint
    assert len(Conversations(None).shard_sizes) == 0


def test_shards_read_back_equal_here_and_by_webdataset(tmp_path: Path) -> None:
    source = Conversations(str(write_folder(tmp_path / "data", ITEMS)))
    write_shards(source, tmp_path / "shards", image_format="png")
    written = samples_of(WebDataset(str(tmp_path / "shards"), fields={**FIELDS, "pictures": "png"}))
    samples = samples_of(source)
    assert written.keys() == samples.keys()
    for key, sample in samples.items():
        assert written[key]["conversation"] == sample["conversation"]
        assert pixels(written[key]) == pixels(sample)
    by_webdataset = {each["__key__"]: each for each in webdataset.WebDataset(
        str(tmp_path / "shards" / "000000.tar"), shardshuffle=False).decode("pil")}
    assert [sorted(name for name in by_webdataset[key] if "png" in name) for key in samples] == [
        ["png"], [], ["0.png", "1.png"], ["png"], ["png"]]
    for key, sample in samples.items():
        pictures = [value for name, value in sorted(by_webdataset[key].items()) if "png" in name]
        assert pixels({"pictures": pictures}) == pixels(sample)
        assert by_webdataset[key]["json"]["conversations"][1]["value"] == (
            sample["conversation"][1].content)


def test_jpegs_are_kept_as_they_were_and_numbers_are_in_order(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for number in (10, 2, 0):
            add(archive, f"k.{number}.jpg", jpeg(number))
        add(archive, "k.json", json.dumps(item(None)).encode())
    sample = samples_of(WebDataset(str(tmp_path), fields=FIELDS))["k"]
    assert [picture.jpeg for picture in sample["pictures"]] == [jpeg(0), jpeg(2), jpeg(10)]
    with pytest.raises(BadSampleError, match=r"0.tar: k: no png for pictures; it has 10.jpg, 2"):
        samples_of(WebDataset(str(tmp_path), fields={**FIELDS, "pictures": "png"}))


DAMAGED: list[tuple[Any, str]] = [
    (item("gone.jpg"), "missing_file"), (item("../data/2.png"), "path"), (item(3), "pictures"),
    (item("conversations.json"), "image"), (item(None, ""), "empty_message"),
    (item(None, "<image> or <image>?"), "pictures"), (item("2.png", "<image><image>"), "pictures"),
    ({"image": "2.png"}, "conversation"), ({"conversations": []}, "empty_conversation"),
    ({"conversations": [{"from": "human", "value": value} for value in "ab"]}, "roles"),
    ({"conversations": [{"from": "bard", "value": "a"}]}, "roles"),
]


def test_damage_is_counted_by_kind_and_place(tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "data", [*ITEMS, *(damaged for damaged, _ in DAMAGED)])
    findings = Findings()
    for part in check_source(Conversations(str(root))):
        findings.add(part)
    expected: dict[str, int] = {}
    for _, kind in DAMAGED:
        expected[kind] = expected.get(kind, 0) + 1
    assert {kind: count for kind, (count, _) in findings.problems().items()} == expected
    assert sum(findings.widths.values()) == 5
    _print_findings(findings)
    printed = capsys.readouterr().out
    assert f"item 5: {root}/gone.jpg does not exist" in printed
    assert "turn 2 of the conversation is the user's, where the assistant's belongs" in printed
    assert source_picture(Conversations(str(root)), 3).shape[2] == 3


def test_shards_of_conversations_are_checked(tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        add(archive, "good.json", json.dumps(item(None)).encode())
        add(archive, "two.0.jpg", jpeg(0))
        add(archive, "two.1.jpg", jpeg(1))
        add(archive, "two.json", json.dumps(item(None, "<image> and <image>?")).encode())
        add(archive, "more.jpg", jpeg(0))
        add(archive, "more.json", json.dumps(item(None, "<image> and <image>?")).encode())
        add(archive, "torn.jpg", jpeg(0)[:300])
        add(archive, "torn.json", json.dumps(item(None)).encode())
    findings = Findings()
    for part in check_index(load_index(str(tmp_path))):
        findings.add(part)
    assert {kind: count for kind, (count, _) in findings.problems().items()} == {
        "pictures": 1, "image": 1}
    assert sum(findings.widths.values()) == 2
    captions: list[str] = []
    monkeypatch.setattr("corekit.data.shards.check.captioned_grid",
                        lambda images, words, **_: captions.extend(words))
    picture_of(load_index(str(tmp_path)), 4)
    assert captions == ["two\n48 x 40\nuser: <image> and <image>?\nassistant: é"]


@pytest.mark.parametrize(("content", "message"), [
    (None, "other.json does not exist: data.dataset.annotations names the file"),
    ("<html>", "other.json is neither a list nor lines of JSON: it must hold conversations as LL"),
    ('[{"id": 1}', "other.json is a list in JSON that is cut off or damaged"),
    ("[]", "other.json holds no conversations"),
])
def test_a_file_that_holds_none_is_one_sentence(content: str | None, message: str,
                                                tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "other.json").write_text(content, encoding="utf-8")
    with pytest.raises(CorekitError, match=message):
        Conversations(str(tmp_path), "other.json")


def test_pictures_that_are_alike_can_be_told() -> None:
    tiles, offsets = torch.arange(3 * 192).view(3, 3, 8, 8), torch.tensor([0, 1, 3, 3, 4])
    first, two, again = find_field("pictures").comparable(
        {"pictures": torch.cat([tiles, tiles[:1]]), "picture_offsets": offsets})
    assert first == again
    assert two not in (first, ())


def test_batches_of_mixed_samples_are_the_same_for_any_workers(tmp_path: Path) -> None:
    pytest.importorskip("transformers", minversion="5")
    root = write_folder(tmp_path / "data", [*ITEMS, item("gone.jpg"), item(None, "<image>?")])
    folder = write_tokenizer(tmp_path / "model", "chatml")
    preprocess = Preprocess(8, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="pad", tiles=2)
    source, tokenizer = Conversations(str(root)), ChatTokenizer(str(folder), 256, 2)
    streams = Streams(source, ShuffledOrder(source.shard_sizes, 2, 4, 0), FixedSize(6, 2), range(2),
                      0, CenterCrop(preprocess), tokenizer)
    whole = next(streams.parts(0, 1, range(2)))
    halves = [next(streams.parts(0, 1, range(each, each + 1))).batch for each in range(2)]
    batch, samples = join(halves, streams.fields), samples_of_good(source)
    assert batch.keys() == whole.batch.keys()
    assert all(torch.equal(batch[name], whole.batch[name]) for name in batch if name != "key")
    assert {kind: messages for kind, messages in whole.bad.items() if "gone" in str(messages)
            } == {"missing_file": [f"{root}/conversations.json: item 5: {root}/gone.jpg does not "
                                   "exist"]}
    assert whole.bad["pictures"] == ["00000006: the conversation has 1 places <image> and 0 "
                                     "pictures"]
    for part, key in zip(split(batch, 6, streams.fields), batch["key"], strict=True):
        tiles = [preprocess.tiles_of(picture) for picture in samples[key]["pictures"]]
        expected = tokenizer.encode(samples[key]["conversation"], [len(each) for each in tiles])
        assert torch.equal(part["conversation"], expected.ids)
        assert torch.equal(part["target_mask"], expected.target_mask)
        assert part["pictures"].shape[0] == int(part["picture_offsets"][-1])
        assert torch.equal(part["pictures"], torch.cat(tiles)) if tiles else True
    assert batch_grid(batch, streams.fields, 6) is not None
    assert batch_grid(halves[0] | {"pictures": batch["pictures"][:0]}, streams.fields, 6) is None


def samples_of_good(source: Conversations) -> dict[str, Sample]:
    handles = source.read(0, 0, int(source.shard_sizes[0]))
    return {f"{number:08d}": source.decode((number, content)) for number, content in handles
            if number < len(ITEMS)}


def test_sources_of_conversations_mix(tmp_path: Path) -> None:
    own, drawn = Conversations(str(write_folder(tmp_path / "data", ITEMS))), OpenMojiQuestions(8)
    mixture = Mixture({"own": {"dataset": own}, "drawn": {"weight": 3, "dataset": drawn}})
    for shard, key in ((0, own.key_of(own.read(0, 0, 1)[0])), (1, "train_0_00000000")):
        sample = mixture.decode(mixture.read(shard, 0, 1)[0])
        assert sample.keys() == {"key", "pictures", "conversation"}
        assert sample["key"] == key
