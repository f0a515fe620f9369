"""Shards as CLIP_benchmark writes them: train/ and test/ below one folder, class names and
templates beside them.
"""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import corekit
from corekit import CorekitError
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.shards.webdataset import WebDataset
from corekit.evaluation.classification.zero_shot import ZeroShot
from tests.conftest import corekit_command

COLOURS = {
    "red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (128, 128, 128)
}
TRAIN, TEST, CAPTIONS = 40, 12, 3
FIRST = ("test/*.tar;*.tar", {"image": "jpg;jpeg;png;webp", "label": "cls"})


def write_split(folder: Path, first: int, count: int, shards: int) -> None:
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for index in range(first + shard, first + count, shards):
                name, colour = list(COLOURS.items())[index % len(COLOURS)]
                content = io.BytesIO()
                Image.new("RGB", (20, 16),
                          tuple(value + index for value in colour)).save(content, "WEBP")
                captions = "\n".join(f"a {name} picture {index} {number}"
                                     for number in range(CAPTIONS))
                for extension, data in (("webp", content.getvalue()),
                                        ("cls", str(index % len(COLOURS)).encode()),
                                        ("txt", captions.encode())):
                    member = tarfile.TarInfo(f"s{index:04d}.{extension}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    (folder / "nshards.txt").write_text(f"{shards}\n")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    write_split(folder / "train", 0, TRAIN, 2)
    write_split(folder / "test", TRAIN, TEST, 1)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in COLOURS))
    (folder / "zeroshot_classification_templates.txt").write_text("a {c} picture\nall {c}.\n")
    return folder


def test_the_folder_and_its_test_part_are_the_same_data_set(
        layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [WebDataset(str(layout), *FIRST), WebDataset(str(layout / "test"), *FIRST)]
    monkeypatch.chdir(layout / "test")
    for source in (*sources, WebDataset(".", *FIRST)):
        assert source.class_names == list(COLOURS)
        assert source.templates == ["a {c} picture", "all {c}."]
        assert ZeroShot(source).templates == ["a {} picture", "all {}."]
        samples = [
            source.decode(handle) for handle in source.read(0, 0, int(source.shard_sizes[0]))
        ]
        assert [sample["key"]
                for sample in samples] == [f"s{index:04d}" for index in range(TRAIN, TRAIN + TEST)]
        assert [sample["label"] for sample in samples] == [index % 4 for index in range(TEST)]


def test_shards_without_parts_are_read_too_but_never_the_training_part(
        layout: Path, tmp_path: Path) -> None:
    shutil.copytree(layout / "test", tmp_path / "flat")
    assert WebDataset(str(tmp_path / "flat"), *FIRST).class_names == []
    assert WebDataset(str(tmp_path / "flat"), *FIRST).shard_sizes.tolist() == [TEST]
    shutil.copytree(layout / "train", tmp_path / "half" / "train")
    with pytest.raises(CorekitError, match=r"no shard that matches 'test/\*\.tar;\*\.tar'"):
        WebDataset(str(tmp_path / "half"), *FIRST)


@pytest.fixture
def model_folder(finished_run: Path, tmp_path: Path) -> Path:
    """The weights in a folder of their own, so that the run's records stay as others expect
    them.
    """
    shutil.copytree(finished_run / "run" / "model", tmp_path / "model")
    # four steps leave the running statistics far from any batch's, and all features alike
    model, preprocess, _ = corekit.load(tmp_path / "model")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    source = OpenMoji(32, concepts=10)
    with torch.no_grad():
        model.train().encode_image(
            torch.stack([preprocess(source.decode(index)["image"]) for index in range(32)]))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "model" / "model.safetensors")
    return tmp_path


def records(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / "model.evaluations.jsonl").read_text().splitlines()
    ]


def test_one_command_evaluates_a_folder_in_four_ways(model_folder: Path, layout: Path) -> None:
    words = ("checkpoint=model", "+evaluation=[zero_shot,retrieval,linear_probe,knn]",
             f"data.root={layout}", "+evaluators.linear_probe.epochs=20", "+evaluators.knn.k=[1,3]")
    done = corekit_command("corekit-eval", *words, folder=model_folder)
    assert done.returncode == 0, done.stderr
    actual = {record["evaluator"]: record for record in records(model_folder)}
    assert list(actual) == ["zero_shot", "retrieval", "linear_probe", "knn"]
    assert all(record["evaluated"] == TEST for record in actual.values())
    assert actual["retrieval"]["captions"] == TEST * CAPTIONS
    assert actual["retrieval"]["metrics"].keys() == {
        f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)
    }
    assert actual["linear_probe"]["metrics"][
        "top1"] >= 0.9, "plain colours are told apart even after four steps"
    assert len(actual["linear_probe"]["grid"]) == 14
    assert actual["linear_probe"]["chosen"] in actual["linear_probe"]["grid"]
    assert actual["knn"]["metrics"]["top1_k1"] == actual["knn"]["metrics"]["top1_k3"] == 1
    for label in actual:
        assert f"{label} on {TEST} samples of {layout.name}: " in done.stdout


def test_drawn_scenes_are_evaluated_alike_on_two_ranks(model_folder: Path) -> None:
    small = [
        f"evaluators.{name}.dataset.samples=30" for name in ("linear_probe", "knn", "retrieval")
    ]
    small += [f"evaluators.{name}.train_dataset.samples=40" for name in ("linear_probe", "knn")]
    small += [
        f"+evaluators.{name}={value}"
        for name, value in (("linear_probe.epochs", 3), ("linear_probe.forward_batch_size", 8),
                            ("knn.batch_size", 8), ("retrieval.batch_size", 8))
    ]
    words = ("checkpoint=model", "+evaluation=[openmoji_probe,openmoji_retrieval]", *small)
    for ranks in (1, 2):
        done = corekit_command("corekit-eval", *words, folder=model_folder, ranks=ranks)
        assert done.returncode == 0, done.stderr
    alone, both = records(model_folder)[:3], records(model_folder)[3:]
    assert [record["evaluator"] for record in both] == ["linear_probe", "knn", "retrieval"]
    for one, two in zip(alone, both, strict=True):
        assert (two["metrics"], two["evaluated"]) == (one["metrics"], 30)
    assert [point["validation_loss"] for point in both[0]["grid"]] == pytest.approx(
        [point["validation_loss"] for point in alone[0]["grid"]], rel=1e-4)


def test_arguments_inside_a_data_set_are_checked(model_folder: Path) -> None:
    words = ("checkpoint=model", "+evaluation=openmoji_probe",
             "+evaluators.knn.train_dataset.sample=3")
    done = corekit_command("corekit-eval", *words, folder=model_folder)
    assert done.returncode == 2
    assert "evaluators.knn.train_dataset.sample (on the command line)" in done.stderr
    assert "did you mean 'samples'" in done.stderr
    assert not (model_folder / "model.evaluations.jsonl").exists()


@pytest.mark.parametrize(("words", "status"), [
    ((), 2), (("evaluators.retrieval.max_bad_fraction=0.5",), 0)])
def test_half_of_a_table_is_missing(model_folder: Path, words: tuple[str, ...],
                                    status: int) -> None:
    for number in range(2):
        Image.new("RGB", (20, 16), (9 * number, 0, 0)).save(model_folder / f"{number}.png")
    rows = [f"{number}.png,caption {number} {way}" for way in "ab" for number in range(4)]
    (model_folder / "pairs.csv").write_text("\n".join(["filepath,title", *rows]))
    done = corekit_command("corekit-eval", "checkpoint=model", "+evaluation=retrieval_table",
                           "data.root=pairs.csv", *words, folder=model_folder)
    assert done.returncode == status, done.stderr
    assert "retrieval on 2 samples (2 more cannot be read) of pairs.csv: " in done.stdout
    assert ("max_bad_fraction=0.01: its figures are of the others" in done.stderr) == bool(status)
    (record,) = records(model_folder)
    assert (record["evaluated"], record["unreadable"], record["captions"]) == (2, 2, 4)
