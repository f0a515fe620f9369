"""AIM's models in the engine: pre-training from shards to a model folder, and towers exported."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import corekit
from corekit import CorekitError
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.transforms.preprocess import Preprocess
from corekit.export.export import export_model
from tests.plain import compose, dry_run, train

LENGTH = 12
MODEL = {
    "name": "aimv2_pretrain", "encoder": "aimv2_base_224", "context_length": LENGTH,
    "vocab_size": 49408, "width_divisor": 24, "depth_divisor": 6
}
LOSS = {"text": {"name": "next_token"}, "image": {"name": "next_patch", "weight": 0.4}}

pytestmark = pytest.mark.usefixtures("determinism_restored")


def test_pre_training_runs_from_a_recipe(tmp_path: Path,
                                         caplog: pytest.LogCaptureFixture) -> None:
    recipe = compose("+recipe=mobileclip/quickstart")
    recipe.update(model=dict(MODEL), loss=deepcopy(LOSS), evaluators={}, run_dir=str(tmp_path))
    recipe["optimizer"]["no_decay"] = ["norms", "biases", "positions"]
    recipe["schedule"]["warmup_steps"] = 1
    recipe["data"].update(dataset={"name": "openmoji", "samples": 32,
                                   "concepts": 10}, workers=0, streams=4, window=4,
                          tokenizer={"name": "clip_bpe", "context_length": LENGTH})
    recipe["data"]["preprocess"]["size"] = 42
    recipe["engine"].update(steps=3, batch_size=8, micro_batch=4, device="cpu")
    recipe["log"]["every_steps"] = 1
    caplog.set_level("INFO", "corekit")
    dry_run(recipe)
    assert "The recipe is sound" in caplog.text
    train(recipe)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["loss"] == pytest.approx(line["text"] + 0.4 * line["image"], rel=1e-6)
    assert lines[-1]["text"] < lines[0]["text"] < 1.1 * torch.tensor(49408.0).log()
    model, preprocess, _ = corekit.load(str(tmp_path))
    assert preprocess.size == 42
    assert model.encode_image(torch.zeros(1, 3, 42, 42)).shape == (1, 32)

    recipe["data"]["tokenizer"]["context_length"] = LENGTH + 1
    with pytest.raises(CorekitError, match="captions of 13 tokens, but the model's text tower is "
                                           "made for 12"):
        dry_run(recipe)


def test_both_towers_of_the_pair_are_exported(tmp_path: Path) -> None:
    arguments = {"width_divisor": 8, "depth_divisor": 12}
    torch.manual_seed(0)
    weights = dict(corekit.create_model("aimv2_large_lit", **arguments).state_dict())
    recipe = {"model": {"name": "aimv2_large_lit", **arguments}, "seed": 0,
              "data": {"tokenizer": {"name": "clip_bpe", "context_length": 77}}}
    save_model_folder(tmp_path / "model", weights, recipe,
                      Preprocess(42, "bicubic", (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)))
    errors = export_model(tmp_path / "model", tmp_path / "exported", "torch")
    assert errors.keys() == {"image.pt2", "text.pt2"}
    assert max(errors.values()) < 1e-5
