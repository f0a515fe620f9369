"""corekit export as people type it: a model folder in, files that onnxruntime runs out, and the
same figures from them.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

import corekit
from corekit.checkpoint.model_folder import save_model_folder
from corekit.cli.evaluate import main as evaluate
from corekit.cli.main import main
from corekit.data.transforms.preprocess import Preprocess

CAPTIONS = ["a red apple", "", "two dogs on a beach, " * 20, "🐛"]
EVALUATION = ("+evaluation=openmoji", "data.workers=0", "engine.device=cpu",
              "evaluators.zero_shot.dataset.samples=40", "evaluators.zero_shot.dataset.concepts=10")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of mobileclip_nano: MCi with batch norm and squeeze-excite, the hybrid text
    tower.
    """
    torch.manual_seed(0)
    model = corekit.create_model("mobileclip_nano", embed_dim=16)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    nn.init.constant_(model.logit_scale, math.log(20))
    model_folder = tmp_path_factory.mktemp("folders") / "nano"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    save_model_folder(
        model_folder, model.state_dict(), {
            "model": {"name": "mobileclip_nano", "embed_dim": 16}, "seed": 0, "data": {
                "preprocess": {
                    "size": 64, "interpolation": "bilinear", "mean": [*mean], "std": [*std]
                }, "tokenizer": {"name": "clip_bpe", "context_length": 32}
            }
        }, Preprocess(64, "bilinear", mean, std))
    return model_folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    export(folder)
    return folder.with_name("nano_onnx")


def export(*words: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["corekit", "export", *map(str, words)])
        main()


def test_onnxruntime_gives_the_models_features(folder: Path, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()
            } == {"image.onnx", "text.onnx", "recipe.yaml", "preprocess.json", "export.json"}
    model, _, tokenize = corekit.load(str(folder))
    image, text = torch.randn(4, 3, 64, 64,
                              generator=torch.Generator().manual_seed(0)), tokenize(CAPTIONS)
    with torch.no_grad():
        expected = model(image, text)
    assert json.loads((exported / "export.json").read_text())["logit_scale"] == pytest.approx(20)
    for name, inputs in (("image", image), ("text", text)):
        session = onnxruntime.InferenceSession(exported / f"{name}.onnx")
        (features,) = session.run([f"{name}_features"], {name: inputs.numpy()})
        assert abs(features - expected[f"{name}_features"].numpy()).max() < 1e-4
        (one,) = session.run(None, {name: inputs[1:2].numpy()})
        assert abs(one - features[1:2]).max() < 1e-5


def test_corekit_loads_and_evaluates_the_folder(folder: Path, exported: Path,
                                                monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    model, preprocess, tokenize = corekit.load(str(folder))
    loaded, same_preprocess, same_tokenize = corekit.load(str(exported))
    assert same_preprocess == preprocess
    image, text = torch.randn(3, 3, 64, 64,
                              generator=torch.Generator().manual_seed(1)), tokenize(CAPTIONS[:3])
    assert torch.equal(same_tokenize(CAPTIONS[:3]), text)
    with torch.no_grad():
        outputs, expected = loaded(image, text), model(image, text)
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-4)

    metrics = []
    for checkpoint in (folder, exported):
        monkeypatch.setattr(sys, "argv", ["corekit-eval", f"checkpoint={checkpoint}", *EVALUATION])
        evaluate()
        (record, ) = checkpoint.with_name(checkpoint.name +
                                          ".evaluations.jsonl").read_text().splitlines()
        metrics.append(json.loads(record)["metrics"])
    assert metrics[0] == metrics[1]
    assert 0 < metrics[0]["top5"] < 1, "a figure that wrong features would change"

    monkeypatch.setattr(
        sys, "argv", ["corekit-eval", f"checkpoint={exported}", "model.embed_dim=8", *EVALUATION])
    with pytest.raises(SystemExit):
        evaluate()
    assert "is exported, and its model is what it is: leave model.* out" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said(folder: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for words, sentence in [
        (("missing", ), "missing does not exist"),
        (("there", "out"), "there is no run and no model "
         "folder"),
        ((folder, "there"), "there is there already"),
        ((folder, "out", "--batch", "0"), "--batch 0"),
        ((folder, "out", "--format", "coreml"), "invalid choice: 'coreml'"),
        ((folder, "out", "--batch", "some"), "invalid int value: 'some'"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            export(*words)
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_help_imports_no_torch() -> None:
    program = ("import sys; sys.argv = ['corekit', 'export', '--help']\nfrom corekit.cli.main "
               "import main\ntry: main()\n"
               "finally: print([name for name in ('torch', 'onnx', 'onnxruntime', 'onnxscript') if "
               "name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "MODEL_FOLDER" in done.stdout
