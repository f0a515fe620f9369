"""corekit convert as people type it: published files in, model folders out and back, and what is
refused.
"""

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

import corekit
from corekit import registry
from corekit.checkpoint.model_folder import save_model_folder
from corekit.cli.evaluate import main as evaluate
from corekit.cli.main import main
from corekit.data.transforms.preprocess import Preprocess


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as Apple would publish MobileCLIP-S0, under the wrappers that training leaves around
    weights.
    """
    torch.manual_seed(0)
    model = corekit.create_model("mobileclip_s0", context_length=16, layer_scale_init=0.1)
    state = registry.build("converter", "mobileclip").save(model.state_dict(), "mobileclip_s0",
                                                           "apple")
    path = tmp_path_factory.mktemp("published") / "mobileclip_s0.pt"
    torch.save(
        {
            "epoch": 3, "name": "a run",
            "state_dict": {"module." + key: value for key, value in state.items()}
        }, path)
    return path


@pytest.fixture(scope="module")
def folder(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    converted = tmp_path_factory.mktemp("folders") / "s0"
    convert(published, converted)
    return converted


def convert(*words: object) -> None:
    before, sys.argv = sys.argv, ["corekit", "convert", *map(str, words)]
    try:
        main()
    finally:
        sys.argv = before


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What is said about words that are refused with exit status 2."""
    with pytest.raises(SystemExit) as stopped:
        convert(*words)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("corekit: ")
    assert message.count("\n") == 1
    return message


def features(folder: Path) -> tuple[Tensor, Tensor]:
    model, _, tokenize = corekit.load(str(folder))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.encode_image(image, normalize=True), model.encode_text(
            tokenize(["a cat", "two dogs"]), normalize=True)


def test_a_published_file_becomes_a_model_folder(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()
            } == {"model.safetensors", "recipe.yaml", "preprocess.json"}
    assert json.loads((folder / "preprocess.json").read_text()) == {
        "size": 256, "interpolation": "bilinear", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        "crop_fraction": 1.0, "resize": "shortest", "fill": 0, "crop_rounding": "even", "tiles": 1}
    model, preprocess, tokenize = corekit.load(str(folder))
    torch.manual_seed(0)
    expected = corekit.create_model("mobileclip_s0", context_length=16,
                                    layer_scale_init=0.1).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert (preprocess.size, tokenize.context_length, model.training) == (256, 16, False)


@pytest.mark.parametrize("layout", ["apple", "open_clip"])
def test_the_way_back_gives_the_same_file(layout: str, folder: Path, published: Path,
                                          tmp_path: Path) -> None:
    convert(folder, tmp_path / "out.safetensors", "--to", layout)
    out = load_file(tmp_path / "out.safetensors")
    if layout == "apple":
        expected = torch.load(published, weights_only=True)["state_dict"]
        assert {f"module.{key}" for key in out} == expected.keys()
        assert all(torch.equal(value, expected[f"module.{key}"]) for key, value in out.items())
    convert(tmp_path / "out.safetensors", tmp_path / "again", "--model", "mobileclip_s0")
    for name in ("model.safetensors", "recipe.yaml", "preprocess.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_open_clips_resize_mode_is_read_and_never_lost(published: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "s0.pt").symlink_to(published)
    wants = {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear",
             "resize_mode": "longest", "fill_color": 9}
    (tmp_path / "in" / "open_clip_config.json").write_text(json.dumps(
        {"model_cfg": {"vision_cfg": {"image_size": 256}}, "preprocess_cfg": wants}))
    convert(tmp_path / "in" / "s0.pt", tmp_path / "out")
    assert "preprocess.json has what open_clip_config.json beside" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "preprocess.json").read_text())
    assert (content["size"], content["resize"], content["fill"]) == (256, "longest", 9)
    message = refused(capsys, tmp_path / "out", tmp_path / "back.safetensors", "--to", "open_clip")
    assert "wants pictures with resize=longest, which a file of weights cannot say" in message
    assert not (tmp_path / "back.safetensors").exists()


def test_a_model_folder_is_fused_and_loads_fused(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "fused", "--fuse")
    assert "fused: true" in (tmp_path / "fused" / "recipe.yaml").read_text()
    assert (tmp_path / "fused" /
            "model.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size
    for fused, expected in zip(features(tmp_path / "fused"), features(folder), strict=True):
        torch.testing.assert_close(fused, expected, rtol=0, atol=1e-5)
    convert(tmp_path / "fused", tmp_path / "apple.pt", "--to", "apple")
    convert(tmp_path / "apple.pt", tmp_path / "back")
    assert (tmp_path / "back" /
            "model.safetensors").read_bytes() == (tmp_path / "fused" /
                                                  "model.safetensors").read_bytes()
    assert OmegaConf.load(tmp_path / "back" / "recipe.yaml") == OmegaConf.load(tmp_path / "fused" /
                                                                               "recipe.yaml")


def test_an_image_tower_alone_encodes_images(folder: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    convert(folder, tmp_path / "timm.safetensors", "--to", "timm")
    assert "which no key tells apart: name the one it is with --model" in refused(
        capsys, tmp_path / "timm.safetensors", tmp_path / "image")
    convert(tmp_path / "timm.safetensors", tmp_path / "image", "--model", "mobileclip_s0", "--fuse")
    model, _, tokenize = corekit.load(str(tmp_path / "image"))
    assert tokenize is None
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            model(image)["image_features"],
            features(folder)[0], rtol=0, atol=1e-5)


def test_corekit_eval_takes_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [
        "corekit-eval", f"checkpoint={folder}", "+evaluation=openmoji", "data.workers=0",
        "evaluators.zero_shot.dataset.samples=4", "evaluators.zero_shot.dataset.concepts=3",
        "engine.device=cpu"
    ])
    evaluate()
    assert "on 4 samples of openmoji" in capsys.readouterr().out
    (record,) = folder.with_name("s0.evaluations.jsonl").read_text().splitlines()
    assert 0 <= json.loads(record)["metrics"]["top1"] <= 1


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_files_are_never_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Harmful(tmp_path / "harm")}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(
        pickle.dumps({"state_dict": Harmful(tmp_path / "harm")}, protocol=2))
    for name in ("new.pt", "old.pt"):
        assert "corekit unpickles nothing else" in refused(capsys, tmp_path / name,
                                                           tmp_path / "out")
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_converted_is_said(folder: Path, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("noise.pt").write_bytes(b"not weights")
    Path("noise.safetensors").write_bytes(b"not weights")
    Path("empty.pt").write_bytes(b"")
    torch.save({"epoch": 3}, "wrapped.pt")
    save_file({"layer.weight": torch.zeros(2)}, "other.safetensors")
    for words, sentence in [
        (("missing.pt", "out"), "missing.pt does not exist"),
        (("noise.pt", "out"), "noise.pt "), (("empty.pt", "out"), "empty.pt "),
        (("noise.safetensors", "out"), "noise.safetensors cannot be read as weights"),
        (("wrapped.pt", "out"), "holds no state_dict"),
        (("other.safetensors", "out"), "fits no model that a converter knows (1 tensors, such as "
                                       "layer.weight)"),
        (("other.safetensors", "out", "--model", "mobileclip_s0"), "are not those of "
                                                                   "'mobileclip_s0'"),
        (("other.safetensors", "out", "--model", "mobileclip_s9"), "did you mean"),
        (("other.safetensors", "out", "--model", "clip_vit_b16"), "no converter knows the model "
                                                                  "'clip_vit_b16'"),
        (("other.safetensors", folder), "is there already"), ((folder, "out"), "is a folder"),
        ((folder, "other.safetensors", "--to", "apple"), "is there already"),
        ((folder, "out.txt", "--to", "apple"), "must end in .safetensors"),
        ((folder, "out.pt", "--to", "coreml"), "cannot be written in the layout 'coreml': there "
                                               "are apple, open_clip, timm"),
        ((folder, "out.pt", "--to", "apple", "--fuse"), "leave --model and --fuse out"),
        (("noise.pt", "out.pt", "--to", "apple"), "is no run and no model folder"),
    ]:
        assert sentence in refused(capsys, *words)
        assert {path.name for path in tmp_path.iterdir()} == {
            "noise.pt", "noise.safetensors", "empty.pt", "wrapped.pt", "other.safetensors"
        }, "nothing half-written"


def test_a_write_that_fails_leaves_nothing(published: Path, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corekit.data.transforms.preprocess.Preprocess.save", full)
    with pytest.raises(OSError, match="No space left"):
        convert(published, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_no_library_has_a_class_for_is_told_what_writes_it(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nano = {"name": "mobileclip_nano", "vocab_size": 9}
    weights = corekit.create_model("mobileclip_nano", vocab_size=9).state_dict()
    preprocess = Preprocess(64, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    recipe = {"model": nano, "seed": 0, "data": {"preprocess": vars(preprocess) | {
        "mean": [0.0] * 3, "std": [1.0] * 3}, "tokenizer": {}}}
    save_model_folder(tmp_path / "nano", weights, recipe, preprocess)
    message = refused(capsys, tmp_path / "nano", tmp_path / "out.pt", "--to", "open_clip")
    assert "`corekit export` writes it as ONNX" in message
    assert not (tmp_path / "out.pt").exists()
