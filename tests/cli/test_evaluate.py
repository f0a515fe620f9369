"""corekit-eval on weights that somebody else passed on: their recipe opens nothing."""

import sys
from pathlib import Path

import pytest

from corekit import CorekitError
from corekit.cli.evaluate import _records_path, main

THEIRS = ("model: {name: mobileclip_nano, context_length: 77}\n"
          "data: {root: 'ftp://127.0.0.1:9/set'}\n")
EVALUATORS = ("evaluators: {zero_shot: {name: zero_shot, dataset: {name: webdataset, root: "
              "'ftp://127.0.0.1:9/${oc.env:HOME}'}}}\n")


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


def test_figures_go_to_no_file_that_their_link_leads_to(tmp_path: Path) -> None:
    records = tmp_path / "theirs.evaluations.jsonl"
    assert _records_path(tmp_path / "theirs") == records
    records.symlink_to(tmp_path / ".bashrc")
    with pytest.raises(CorekitError, match="is a link that may have come with the weights"):
        _records_path(tmp_path / "theirs")
