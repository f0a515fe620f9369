"""Where a suite's sets are kept: other weights, another model and another tokenizer have others."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from corekit.checkpoint.load import place_of
from corekit.evaluation.run import keeping
from corekit.recipes.schema import (
    DataConfig,
    EntryConfig,
    EvaluationConfig,
    EvaluatorConfig,
    ModelConfig,
)
from tests.evaluation.known import eval_model


def store_of(run: Path, base: Path, length: int = 8, tokenizer: str = "clip_bpe") -> str:
    config = EvaluationConfig(checkpoint=str(run), model=ModelConfig("m", {"length": length}),
                              data=DataConfig(tokenizer=EntryConfig(tokenizer)), store=str(base))
    with keeping(eval_model(torch.nn.Flatten()), config, place_of(run)) as kept:
        assert kept.store is not None
        assert kept.features == kept.store / "features"
        return kept.store.name


def test_what_decides_figures_decides_the_folder(finished_run: Path, tmp_path: Path) -> None:
    run = finished_run / "run" / "model"
    first = store_of(run, tmp_path)
    assert first == store_of(run, tmp_path)
    shutil.copytree(run, tmp_path / "copy")
    assert first == store_of(tmp_path / "copy", tmp_path), "a copy's figures are the same"
    weights = load_file(run / "model.safetensors")
    name = next(name for name, value in weights.items() if value.is_floating_point())
    save_file({**weights, name: weights[name] + 1}, tmp_path / "copy" / "model.safetensors")
    others = {store_of(tmp_path / "copy", tmp_path), store_of(run, tmp_path, length=9),
              store_of(run, tmp_path, tokenizer="sentencepiece")}
    assert len({first, *others}) == 4


@pytest.mark.parametrize(("name", "keeps"), [("suite", True), ("question_answering", True),
                                             ("captioning", True), ("zero_shot", False)])
def test_what_takes_hours_is_kept_without_being_asked(name: str, keeps: bool,
                                                      finished_run: Path) -> None:
    run = finished_run / "run" / "model"
    config = EvaluationConfig(checkpoint=str(run), model=ModelConfig("m"),
                              evaluators=(EvaluatorConfig(name, label="x"),))
    with keeping(eval_model(torch.nn.Flatten()), config, place_of(run)) as kept:
        assert (kept.store is not None) == keeps
        assert kept.features is None
