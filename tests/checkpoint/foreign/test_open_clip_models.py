"""Models of open_clip: their features and pixels are the library's, and nothing is fetched."""

import json
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import corekit
from corekit.checkpoint.foreign.find import find_foreign
from corekit.checkpoint.foreign.open_clip_models import OpenClip
from corekit.checkpoint.load import identity, place_of
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD
from tests.checkpoint.foreign.peers import write_open_clip

open_clip = pytest.importorskip("open_clip")
CAPTIONS = ["a photo of a CAT", "two red dogs, " * 8, ""]
WANTS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
@torch.no_grad()
def test_features_and_pixels_are_the_librarys(resize: str, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)  # whoever asks the network fails
    write_open_clip(tmp_path / "peer", **WANTS, resize_mode=resize, fill_color=99)
    model, preprocess, tokenizer = corekit.load(str(tmp_path / "peer"))
    name = f"local-dir:{tmp_path / 'peer'}"
    theirs, _, its_preprocess = open_clip.create_model_and_transforms(name)
    pixels = np.random.default_rng(0).integers(0, 256, (375, 1242, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert tokenizer is not None
    text = tokenizer(CAPTIONS)
    assert torch.equal(text, open_clip.get_tokenizer(name)(CAPTIONS))
    assert torch.equal(preprocess.crop(image), ((its_preprocess(image) * torch.tensor(
        WANTS["std"])[:, None, None] + torch.tensor(WANTS["mean"])[:, None, None]) * 255
                                               ).round().to(torch.uint8))
    images = preprocess(image)[None]
    assert torch.allclose(images[0], its_preprocess(image), atol=1e-5)
    assert torch.allclose(model.encode_image(images), theirs.eval().encode_image(images), atol=1e-5)
    assert torch.allclose(model.encode_text(text), theirs.encode_text(text), atol=1e-5)
    outputs = model(images, text[:1])
    assert outputs.keys() >= {"image_features", "text_features", "logit_scale"}


def test_what_pictures_a_file_wants_is_what_published_weights_of_its_name_want(
        caplog: pytest.LogCaptureFixture) -> None:
    for name, expected in (("ViT-B-32", Preprocess(224, "bicubic", CLIP_MEAN, CLIP_STD)),
                           ("ViT-B-16-SigLIP", Preprocess(224, "bicubic", HALF, HALF,
                                                          resize="squash"))):
        assert OpenClip(name, "file").preprocess() == expected
    assert not caplog.records
    assert OpenClip("ViT-H-14", "file").preprocess() == Preprocess(224, "bicubic", CLIP_MEAN,
                                                                   CLIP_STD)
    assert "nothing says how open_clip's ViT-H-14 wants pictures" in caplog.text
    squashed = OpenClip("ViT-H-14", "dfn5b").preprocess()
    assert squashed.resize == "squash"
    with pytest.raises(CorekitError, match="pictures of .*224, 256.* pixels are not square"):
        OpenClip("x").preprocess_of({"size": (224, 256)})


def test_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.pt").touch()
    for word, arguments, place in (
            ("open_clip:ViT-B-32,w.pt", {"model": "ViT-B-32", "pretrained": "w.pt"}, "ViT-B-32"),
            ("open_clip:a/b,hub:tag", {"model": "a/b", "pretrained": "tag", "hub": True}, "a-b"),
            ("open_clip:hf-hub:../b", {"model": "hf-hub:../b", "hub": True}, "-b"),
            ("open_clip:local-dir:x/y", {"model": "local-dir:x/y"}, "x/y")):
        foreign = find_foreign(word)
        assert foreign is not None
        assert (foreign.arguments, foreign.place) == (arguments, Path(place))
        assert place_of(word) == Path(place)
    for word, sentence in (("open_clip:ViT-B-32", "it names no weights; type open_clip:ViT-B-32,F"),
                           ("open_clip:ViT-B-32,openai", "there is no file openai; type open_clip:"
                            "ViT-B-32,FILE, or open_clip:ViT-B-32,hub:TAG to download")):
        with pytest.raises(CorekitError, match=sentence):
            find_foreign(word)


def test_what_is_wrong_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_open_clip(tmp_path / "peer")
    weights = "peer/open_clip_model.safetensors"
    Path("evil.pt").write_bytes(pickle.dumps(print))
    Path("page.pt").write_text("<html>")
    assert identity("peer") == OpenClip("local-dir:peer").identity() | {"name": "local-dir:peer"}
    for word, sentence in (
            (f"open_clip:ViT-B-33,{weights}", "has no model 'ViT-B-33' .did you mean 'ViT-B-32'"),
            (f"open_clip:ViT-S-32-alt,{weights}", "cannot be had: "),
            ("open_clip:ViT-S-32-alt,evil.pt", "unpickles nothing else"),
            ("open_clip:ViT-S-32-alt,page.pt", "a page of the web"),
            ("open_clip:ViT-S-32-alt,hub:nobody", "cannot be had: Pretrained value 'nobody'"),
            ("open_clip:local-dir:nowhere", "No such file")):
        with pytest.raises(CorekitError, match=sentence) as raised:
            corekit.load(word)
        assert "\n" not in str(raised.value)
    config = json.loads(Path("peer/open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/elses"
    Path("peer/open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CorekitError, match="cannot be had: the tokenizer of"):
        corekit.load("peer")
    torch.save(load_file(weights), "peer/open_clip_pytorch_model.bin")
    Path(weights).unlink()
    with pytest.raises(CorekitError, match="peer holds no weights as .safetensors: put open_clip_"):
        corekit.load("peer")
