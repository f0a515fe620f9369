"""What models of every kind write of pictures: figures that are known, names, and sentences."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from corekit import CorekitError, registry
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.outlines import mask_functions
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.prediction.predict import predict

SIZE = 32
DATASET = {"name": "openmoji", "samples": 2, "concepts": 3, "annotations": True}


class Stub(nn.Module):
    """Has a weight, as every model does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Detector(Stub):
    def detect(self, image: Tensor) -> list[dict[str, Tensor]]:
        boxes = torch.tensor([[0.0, 0.0, 16.0, 8.0], [8.0, 8.0, 32.0, 16.0]])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.4]), "labels": torch.tensor([2, 0]),
                 "masks": torch.ones(2, 28, 28)} for _ in image]


class Segmenter(Stub):
    """The left half is of class 1, the other of class 3, which is the background."""

    def segment(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        logits = torch.zeros(len(image), 4, 2, 2)
        logits[:, 1, :, 0] = logits[:, 3, :, 1] = 9.0
        return F.interpolate(logits, size, mode="nearest")


class Classifier(Stub):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": torch.tensor([[-9.0, 2.0, 1.0]]).expand(len(image), -1)}


class Pairs(Stub):
    """Pictures fit captions the more, the nearer their red is to the length of the caption."""

    def encode_image(self, image: Tensor) -> Tensor:
        angle = image[:, 0].mean((1, 2))
        return torch.stack([angle.cos(), angle.sin()], 1)

    def encode_text(self, text: Tensor) -> Tensor:
        angle = text.ne(0).sum(1) / 10
        return torch.stack([angle.cos(), angle.sin()], 1)


def run_of(kind: type[nn.Module], where: Path, patch: pytest.MonkeyPatch,
           loss: str = "cross_entropy", **data: Any) -> Path:
    """One's own run, of a model of a kind."""
    patch.setitem(registry._in_session, ("model", "stub"), kind)
    recipe = {"model": {"name": "stub"}, "seed": 0, "loss": {"name": loss},
              "data": {"dataset": DATASET, "preprocess": {}, "tokenizer": {}, **data}}
    save_model_folder(where / "run/model", kind().state_dict(), recipe,
                      Preprocess(SIZE, "bilinear", (0, 0, 0), (1, 1, 1)))
    (where / "run/recipe.yaml").write_bytes((where / "run/model/recipe.yaml").read_bytes())
    (where / "run/environment.json").write_text("{}")
    return where / "run"


def picture(where: Path, name: str = "red.png", size: tuple[int, int] = (64, 48),
            colour: tuple[int, int, int] = (120, 0, 0)) -> Path:
    Image.new("RGB", size, colour).save(where / name)
    return where / name


def content(out: Path, name: str = "red") -> Any:
    return json.loads((out / f"{name}.json").read_text())


def test_objects_are_in_pixels_of_the_picture(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = run_of(Detector, tmp_path, monkeypatch), tmp_path / "out"
    assert predict(run, [picture(tmp_path)], out) == 1
    assert (content(out)["width"], content(out)["height"]) == (64, 48)
    (item,) = content(out)["objects"]
    assert (item["class"], item["label"], item["box"]) == ("red apple", 2, [0, 0, 32, 16])
    assert item["score"] == pytest.approx(0.9)
    assert mask_functions().decode(item["mask"])[1:15, 1:31].all()
    drawn = np.asarray(Image.open(out / "red.jpg"))
    assert drawn.shape == (6 * 48, 6 * 64, 3)  # small pictures are drawn larger
    assert abs(drawn[200, 300].astype(int) - [120, 0, 0]).max() < 6
    assert abs(drawn[80, 150].astype(int) - [120, 0, 0]).max() > 30  # under the mask
    assert predict(run, [picture(tmp_path)], tmp_path / "more", threshold=0.3) == 1
    assert len(content(tmp_path / "more")["objects"]) == 2


def test_classes_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = run_of(Segmenter, tmp_path, monkeypatch), tmp_path / "out"
    predict(run, [picture(tmp_path, size=(2048, 1024))], out)  # more than are computed
    assert content(out)["classes"] == [{"class": "monkey", "label": 1, "share": 0.5},
                                       {"class": "background", "label": 3, "share": 0.5}]
    classes = np.asarray(Image.open(out / "red.classes.png"))
    assert classes.shape == (1024, 2048)
    assert (classes[:, :1024] == 1).all()
    assert (classes[:, 1024:] == 3).all()
    drawn = np.asarray(Image.open(out / "red.jpg")).astype(int)
    assert abs(drawn[500, 1800] - [120, 0, 0]).max() < 6 < abs(drawn[500, 500] - [120, 0, 0]).max()


@pytest.mark.parametrize(("loss", "expected"), [
    ("cross_entropy", {"monkey": 0.7311, "red apple": 0.2689, "alarm clock": 0.0}),
    ("binary_cross_entropy", {"monkey": 0.8808, "red apple": 0.7311}),
])
def test_labels_of_which_one_or_several_are_right(loss: str, expected: dict[str, float],
                                                  tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(Classifier, tmp_path, monkeypatch, loss)
    predict(run, [picture(tmp_path)], tmp_path / "out")
    labels = {each["class"]: each["score"] for each in content(tmp_path / "out")["labels"]}
    assert labels == pytest.approx(expected, abs=1e-4)
    assert [*labels] == [*expected]


def test_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = {"name": "clip_bpe", "context_length": 8}
    run = run_of(Pairs, tmp_path, monkeypatch, tokenizer=tokenizer)
    file = picture(tmp_path, colour=(128, 0, 0))  # five tokens: begin, three words, end
    predict(run, [file], tmp_path / "out", ["dog", "a red dog"])
    captions = content(tmp_path / "out")["captions"]
    assert [each["caption"] for each in captions] == ["a red dog", "dog"]
    assert captions[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert captions[0]["score"] > 0.8
    assert sum(each["score"] for each in captions) == pytest.approx(1)
    with pytest.raises(CorekitError, match="type --captions"):
        predict(run, [file], tmp_path / "other")
    with pytest.raises(CorekitError, match="leave --captions out"):
        predict(run_of(Detector, tmp_path, monkeypatch), [file], tmp_path / "other", ["dog"])
    assert not (tmp_path / "other").exists()


def test_damaged_pictures_are_a_sentence_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              caplog: pytest.LogCaptureFixture) -> None:
    run, out, folder = run_of(Classifier, tmp_path, monkeypatch), tmp_path / "out", tmp_path / "set"
    folder.mkdir()
    picture(folder)
    picture(folder, "red.webp")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "notes.txt").touch()
    with caplog.at_level(logging.WARNING), pytest.raises(CorekitError, match="2 of 4 pictures"):
        predict(run, [folder, tmp_path / "nowhere.png"], out)
    assert len(caplog.records) == 2
    assert "cut.jpg" in caplog.text
    assert "nowhere.png cannot be read: No such file" in caplog.text
    assert {each.name for each in out.iterdir()} == {"red.json", "red.jpg", "red_2.json",
                                                     "red_2.jpg"}
    with pytest.raises(CorekitError, match="is there already"):
        predict(run, [folder], out)


def test_weights_alone_name_no_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(Detector, tmp_path, monkeypatch)
    (run / "environment.json").unlink()
    predict(run / "model", [picture(tmp_path)], tmp_path / "out")
    assert content(tmp_path / "out")["objects"][0]["class"] == "class 2"
