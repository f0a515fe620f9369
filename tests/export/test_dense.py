"""Exported models of objects and pixels give what the trained ones give."""

from pathlib import Path

import pytest
import torch

import corekit
from corekit import CorekitError
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.export.export import export_model

SIZE = 64


def folder_of(name: str, where: Path) -> Path:
    """A model folder of random weights."""
    torch.manual_seed(0)
    model = corekit.create_model(name, image_size=SIZE)
    recipe = {"model": {"name": name, "image_size": SIZE}, "seed": 0,
              "data": {"preprocess": {}, "tokenizer": {}}}
    save_model_folder(where / "model", model.state_dict(), recipe,
                      Preprocess(SIZE, "bilinear", (0, 0, 0), (1, 1, 1)))
    return where / "model"


def test_a_detector_takes_one_picture_and_gives_its_objects(tmp_path: Path) -> None:
    folder = folder_of("catlip_mask_rcnn_nano", tmp_path)
    for form, batch, sentence in (("torch", None, "as ONNX alone"), ("onnx", 2, "--batch 2")):
        with pytest.raises(CorekitError, match=sentence):
            export_model(folder, tmp_path / "none", form, batch)
    export_model(folder, tmp_path / "onnx", "onnx")
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    expected = corekit.load(folder)[0].detect(images)  # type: ignore[operator]
    actual = corekit.load(tmp_path / "onnx")[0].detect(images)  # type: ignore[operator]
    for ours, theirs in zip(actual, expected, strict=True):
        assert len(theirs["scores"]) > 50
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, atol=1e-3, rtol=1e-4)


def test_a_segmenter_gives_logits_of_pixels(tmp_path: Path) -> None:
    folder = folder_of("catlip_deeplabv3_nano", tmp_path)
    assert export_model(folder, tmp_path / "onnx", "onnx")["model.onnx"] < 1e-4
    image = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = corekit.load(folder)[0](image)["logits"]
    torch.testing.assert_close(corekit.load(tmp_path / "onnx")[0](image)["logits"], expected,
                               atol=1e-5, rtol=1e-4)
