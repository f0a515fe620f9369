"""Exported folders of a model so small that its outputs are known: what is written, refused, and
never kept.
"""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import corekit
from corekit import CorekitError, registry
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.export.export import export_model

SIZE = 4


class Parts:
    """What a wide head gives instead of its output."""

    def __init__(self, hidden: Tensor, weight: Tensor) -> None:
        self.hidden, self.weight = hidden, weight

    def dense(self) -> Tensor:
        return self.hidden @ self.weight.T


class Colours(nn.Module):
    """Logits of the mean colour, through a head that gives its parts."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor | Parts]:
        colour = x.mean((2, 3))
        return {"colour": colour, "scores": Parts(colour, self.head.weight)}


class Pairs(Colours):
    """Needs more than pictures."""

    def forward(self, x: Tensor,
                label: Tensor) -> dict[str, Tensor | Parts]:  # type: ignore[override]
        return super().forward(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        yield folder_of(Colours, tmp_path_factory.mktemp("folders"), patch)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    """The folder as ONNX."""
    assert export_model(folder, folder.with_name("onnx"), "onnx").keys() == {"model.onnx"}
    return folder.with_name("onnx")


def folder_of(kind: type[nn.Module], where: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setitem(registry._in_session, ("model", "colours"), kind)
    torch.manual_seed(0)
    recipe = {
        "model": {"name": "colours", "inputs": {"x": "image"}, "outputs": {"scores": "logits"}},
        "seed": 0, "data": {"preprocess": {}, "tokenizer": {}}
    }
    save_model_folder(where / "model",
                      kind().state_dict(), recipe, Preprocess(SIZE, "bilinear", (0, 0, 0),
                                                              (1, 1, 1)))
    return where / "model"


def images(count: int) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))


def expected_logits(folder: Path, pixels: Tensor) -> Tensor:
    return pixels.mean((2, 3)) @ corekit.load(str(folder))[0].head.weight.detach().T


def test_a_plain_forward_is_one_file(folder: Path, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()
            } == {"model.onnx", "recipe.yaml", "preprocess.json", "export.json"}
    for name in ("recipe.yaml", "preprocess.json"):
        assert (exported / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((exported / "export.json").read_text()) == {
        "format": "onnx", "batch": None, "logit_scale": None, "files": {"model.onnx": {
            "image": "float32 [batch, 3, 4, 4], prepared as preprocess.json says",
            "colour": "float32 [batch, 3]", "logits": "float32 [batch, 5]"}}}
    model, preprocess, tokenize = corekit.load(str(exported))
    assert (preprocess.size, tokenize) == (SIZE, None)
    for count in (1, 2, 7):
        torch.testing.assert_close(
            model(images(count))["logits"], expected_logits(folder, images(count)))
        torch.testing.assert_close(model(images(count))["colour"], images(count).mean((2, 3)))


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_the_same_bytes_each_time(form: str, folder: Path, exported: Path, tmp_path: Path) -> None:
    first, second = exported if form == "onnx" else tmp_path / "first", tmp_path / "second"
    if form == "torch":
        export_model(folder, first, form)
    (tmp_path / ".second.writing").mkdir()
    (tmp_path / ".second.writing" / "left_by_a_killed_one").touch()
    export_model(folder, second, form)
    contents = [{path.name: path.read_bytes() for path in part.iterdir()}
                for part in (first, second)]
    assert contents[0] == contents[1]
    assert not (tmp_path / ".second.writing").exists()


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_fixed_batch_is_the_only_one(form: str, folder: Path, tmp_path: Path) -> None:
    export_model(folder, tmp_path / "out", form, batch=2)
    content = json.loads((tmp_path / "out" / "export.json").read_text())
    assert content["batch"] == 2
    run: Callable[[Tensor], Tensor]
    if form == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
        assert session.get_inputs()[0].shape == [2, 3, SIZE, SIZE]

        def run(pixels: Tensor) -> Tensor:
            return torch.from_numpy(session.run(["logits"], {"image": pixels.numpy()})[0])
    else:
        program = torch.export.load(tmp_path / "out" / "model.pt2").module()

        def run(pixels: Tensor) -> Tensor:
            logits: Tensor = program(pixels)["logits"]
            return logits
    torch.testing.assert_close(run(images(2)), expected_logits(folder, images(2)))
    for count in (1, 3):
        with pytest.raises(Exception, match=r"index: 0 Got: \d Expected: 2|size\(\)\[0\] == 2"):
            run(images(count))
    if form == "onnx":  # corekit's own runs are two at a time, the last filled up
        logits = corekit.load(str(tmp_path / "out"))[0](images(5))["logits"]
        torch.testing.assert_close(logits, expected_logits(folder, images(5)))


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_what_differs_is_not_kept(wrong: float, folder: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Colours) -> Colours:
        other = Colours()
        other.head.weight.data = model.head.weight.detach() + wrong
        return other.eval()

    monkeypatch.setattr("corekit.export.export.reparameterize", broken)
    with pytest.raises(CorekitError, match=r"model.pt2 gives logits .* away from the model's .* it "
                                           r"was not kept"):
        export_model(folder, tmp_path / "out", "torch")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_said_first(folder: Path, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None
                        if name == "onnxscript" else find(name))
    with pytest.raises(CorekitError, match=r"--format onnx needs onnxscript: pip install "
                                           r"'corekit\[export\]'"):
        export_model(folder, tmp_path / "out", "onnx")


def test_a_model_that_needs_more_than_pictures(tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorekitError, match="'colours' has no encode_image, and its forward needs "
                                           "label"):
        export_model(folder_of(Pairs, tmp_path, monkeypatch), tmp_path / "out", "onnx")


def test_files_that_corekit_does_not_run(folder: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="is exported already"):
        export_model(exported, tmp_path / "again", "onnx")
    export_model(folder, tmp_path / "torch", "torch")
    with pytest.raises(CorekitError, match=r"torch.export, whose loading unpickles.*--format onnx"):
        corekit.load(str(tmp_path / "torch"))
    shutil.copytree(exported, tmp_path / "onnx")
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(CorekitError, match=r"model.onnx cannot be run"):
        corekit.load(str(tmp_path / "onnx"))
    (tmp_path / "onnx" / "export.json").write_text("{}")
    with pytest.raises(CorekitError, match=r"export.json is none that corekit export wrote"):
        corekit.load(str(tmp_path / "onnx"))
