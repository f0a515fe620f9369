"""Folders of transformers: corekit's features are the library's own, and nothing is run or fetched.
"""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import corekit
from corekit.errors import CorekitError
from tests.checkpoint.foreign.peers import write_transformers

transformers = pytest.importorskip("transformers", minversion="5")
CAPTIONS = ["a photo of a CAT", "two red dog . " * 8, "of"]
KINDS = ("clip", "metaclip_2", "siglip", "aimv2")


@pytest.fixture(name="folders", scope="module")
def folders_of_all_kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("folders")
    for kind in (*KINDS, "aimv2_vision_model"):
        write_transformers(base / kind, kind)
    return {path.name: path for path in base.iterdir()}


def features(output: object) -> Tensor:
    pooled = output if isinstance(output, Tensor) else output.pooler_output  # type: ignore
    assert isinstance(pooled, Tensor)
    return pooled


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_features_are_the_librarys(kind: str, folders: dict[str, Path],
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)  # whoever asks the network fails
    model, preprocess, tokenizer = corekit.load(str(folders[kind]))
    theirs: nn.Module = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    its_tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (43, 71, 3), dtype=np.uint8))
    images = torch.stack([preprocess(image), preprocess(image.rotate(90, expand=True))])
    pixels = processor([image, image.rotate(90, expand=True)],
                       return_tensors="pt")["pixel_values"]
    inputs = its_tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=12,
                           return_tensors="pt")
    assert tokenizer is not None
    text = tokenizer(CAPTIONS)
    assert torch.equal(text, inputs["input_ids"])
    assert torch.equal(tokenizer(CAPTIONS[0]), text[:1])
    expected_image = features(theirs.get_image_features(pixel_values=pixels))
    expected_text = features(theirs.get_text_features(**inputs))
    assert torch.allclose(images, pixels, atol=1e-5)
    assert torch.allclose(model.encode_image(images), expected_image, atol=1e-5)
    assert torch.allclose(model.encode_text(text), expected_text, atol=1e-5)
    assert model.encode_tokens(images).shape == (2, 5 if "clip" in kind else 4, 32)
    # SigLIP alone sees padding, so that it matters to this test
    alone = model.encode_text(text[2:, :2])
    assert torch.allclose(alone, expected_text[2:], atol=1e-5) == (kind != "siglip")


@torch.no_grad()
def test_an_encoder_alone_gives_tokens_and_their_mean(folders: dict[str, Path]) -> None:
    model, preprocess, tokenizer = corekit.load(str(folders["aimv2_vision_model"]))
    theirs = transformers.Aimv2VisionModel.from_pretrained(folders["aimv2_vision_model"]).eval()
    images = preprocess(Image.new("RGB", (40, 50), (200, 30, 90)))[None]
    tokens = theirs(pixel_values=images).last_hidden_state
    assert tokenizer is None
    assert not hasattr(model, "encode_text")
    assert torch.allclose(model(images)["tokens"], tokens, atol=1e-5)
    assert torch.allclose(model(images)["pooled"], tokens.mean(1), atol=1e-5)


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize(("removed", "written", "sentence"), [
    ("model.safetensors", {}, "holds no weights: put model.safetensors there"),
    ("model.safetensors", {"pytorch_model.bin": "x"}, "holds only pytorch_model.bin, a pickle"),
    ("preprocessor_config.json", {}, "nothing says how .* wants pictures: put its prepro"),
    ("tokenizer.json", {}, "holds no tokenizer that transformers loads"),
    ("config.json", {"config.json": "{}"}, "is no configuration of transformers"),
    ("config.json", {"config.json": '{"model_type": "bert"}'}, "holds a 'bert', of which corekit"),
    ("config.json", {"config.json": '{"model_type": "siglip2"}'}, "its pictures have any shape"),
    ("", {"model.safetensors": "x"}, "holds no model that transformers loads"),
])
def test_what_is_missing_is_one_sentence(removed: str, written: dict[str, str], sentence: str,
                                         folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders["clip"], tmp_path / "folder")
    if removed:
        (folder / removed).unlink()
    for name, content in written.items():
        (folder / name).write_text(content)
    with pytest.raises(CorekitError, match=sentence) as raised:
        corekit.load(str(folder))
    assert "\n" not in str(raised.value)


def test_weights_that_do_not_fit_are_never_filled_up(folders: dict[str, Path],
                                                     tmp_path: Path) -> None:
    folder = copied(folders["clip"], tmp_path / "folder")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CorekitError, match="1 are missing, such as visual_projection.weight"):
        corekit.load(str(folder))
    config = json.loads((folder / "config.json").read_text())
    config["projection_dim"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorekitError, match="missing|size mismatch|holds no model"):
        corekit.load(str(folder))


def test_code_beside_the_weights_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders["clip"], tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    corekit.load(str(folder))
    assert not (tmp_path / "ran").exists()
