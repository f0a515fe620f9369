"""``corekit-eval`` beside a training that goes on, where it cannot write, and on weights that
somebody else passed on: their recipe opens nothing.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import corekit.checkpoint.load
from corekit.cli.evaluate import _report, main
from corekit.evaluation.base import Result
from tests.checkpoint.foreign.peers import write_open_clip

THEIRS = ("model: {name: mobileclip_nano, context_length: 77}\n"
          "data: {root: 'ftp://127.0.0.1:9/set'}\n")
EVALUATORS = ("evaluators: {zero_shot: {name: zero_shot, dataset: {name: webdataset, root: "
              "'ftp://127.0.0.1:9/${oc.env:HOME}'}}}\n")
SMALL = ("data.workers=0", "evaluators.zero_shot.dataset.samples=16")


def test_step_and_weights_are_of_one_checkpoint(
        finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished_run / "run", tmp_path / "run", symlinks=True)
    link, checkpoints = tmp_path / "run" / "model", tmp_path / "run" / "checkpoints"
    link.unlink()
    link.symlink_to("checkpoints/step_00000002/model")
    weights = load_file(checkpoints / "step_00000002" / "model" / "model.safetensors")
    load_model = corekit.checkpoint.load.load_model

    def while_training_goes_on(*args: Any) -> nn.Module:
        link.unlink()
        link.symlink_to("checkpoints/step_00000004/model")
        model = load_model(*args)
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
        shutil.rmtree(checkpoints / "step_00000002")
        return model

    monkeypatch.setattr(corekit.checkpoint.load, "load_model", while_training_goes_on)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["corekit-eval", "checkpoint=run", *SMALL])
    main()
    last = json.loads((tmp_path / "run/evaluations.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["samples"], last["by"]) == (2, 64, "corekit-eval")


def test_figures_are_told_where_they_cannot_be_recorded(
        finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(finished_run / "run" / "model", tmp_path / "folder")
    (tmp_path / "folder.evaluations.jsonl").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["corekit-eval", "checkpoint=folder", *SMALL])
    main()
    assert "zero_shot on 16 samples of openmoji: top1" in caplog.text
    assert "folder.evaluations.jsonl cannot be written to (Is a directory)" in caplog.text


def test_models_of_other_libraries_are_evaluated_with_typed_keys(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    write_open_clip(tmp_path / "peer", resize_mode="squash")
    monkeypatch.chdir(tmp_path)
    words = ["corekit-eval", "checkpoint=peer", "+evaluation=openmoji", "engine.device=cpu"]
    monkeypatch.setattr(sys, "argv", [*words, *SMALL, "engine.precision=bf16",
                                      "data.preprocess.resize=longest"])
    main()
    record = json.loads((tmp_path / "peer.evaluations.jsonl").read_text())
    assert (record["evaluated"], record["step"]) == (16, None)
    for wrong, sentence in (("data.preprocess.resize=fit", "one of [shortest, squash, longest"),
                            ("data.tokenizer.name=clip_bpee", "did you mean 'clip_bpe'"),
                            ("checkpoint=open_clip:ViT-B-32,nowhere.pt", "no file nowhere.pt")):
        monkeypatch.setattr(sys, "argv", [*words, *SMALL, wrong])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("recipe", "words", "sentence"), [
    (THEIRS + EVALUATORS, (), "which is not resolved where it comes with weights"),
    (THEIRS + EVALUATORS.replace("${oc.env:HOME}", "x"), (),
     "type +evaluation=OPTION data.root=FOLDER"),
    (THEIRS, (), "there is nothing to evaluate"),
    (THEIRS, ("+evaluation=zero_shot", ), "needs to know where its samples are"),
    (THEIRS, ("+evaluation=zero_shot", "data.root=nowhere"), "root=nowhere is not a folder"),
])
def test_what_is_evaluated_on_is_typed(recipe: str, words: tuple[str, ...], sentence: str,
                                       tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("theirs").mkdir()
    Path("theirs", "model.safetensors").touch()
    Path("theirs", "recipe.yaml").write_text(recipe)
    monkeypatch.setattr(sys, "argv", ["corekit-eval", "checkpoint=theirs", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert str(Path.home()) not in printed.err + printed.out


def test_figures_go_to_no_file_that_their_link_leads_to(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, result = tmp_path / "theirs", Result({"top1": 0.5}, "set", 2)
    (tmp_path / "mine").touch()
    (tmp_path / "theirs.evaluations.jsonl").symlink_to("mine")
    _report(folder, (None, None), "zero_shot", result)
    assert (tmp_path / "mine").read_bytes() == b""
    assert "top1 50.00%" in caplog.text
    assert "is a link that may have come with the weights: the figures are not rec" in caplog.text
    (tmp_path / "theirs.evaluations.jsonl").unlink()
    _report(folder, (None, None), "zero_shot", result)
    assert json.loads((tmp_path / "theirs.evaluations.jsonl").read_text())["evaluated"] == 2


def test_files_of_an_evaluation_overwrite_none(tmp_path: Path) -> None:
    for content in (b"1", b"2"):
        _report(tmp_path / "model", (None, None), "coco",
                Result({"box_ap": 0.5}, "set", 2, files={"box_results.json": content}))
    records = (tmp_path / "model.evaluations.jsonl").read_text().splitlines()
    names = [json.loads(line)["files"] for line in records]
    assert [(tmp_path / name / "box_results.json").read_bytes() for name in names] == [b"1", b"2"]
