"""Every recipe, found by listing: it composes, dry-runs as it is, and a shrunken copy of it trains two steps.

There are no exceptions. A model or a data set that the tables below do not know fails; a model too large for a test
takes an argument that makes it smaller, as MobileCLIP's take ``width_divisor``, and stands here with it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from corekit import registry
from corekit.cli.compose import compose
from corekit.cli.train import open_source
from corekit.data.openmoji import OpenMoji
from corekit.data.shard_writer import write_shards
from corekit.engine.build import build_model, build_sampler
from corekit.engine.dry_run import dry_run
from corekit.engine.run import run
from corekit.recipes import recipe_names

PIXELS = 64
MODELS: dict[str, dict[str, Any]] = {  # the arguments that fit a model to PIXELS, and make it small where it is large
    "mobileclip_nano": {}, "mobileclip_s0": {"width_divisor": 4}, "mobileclip_s1": {"width_divisor": 4},
    "mobileclip_s2": {"width_divisor": 4}, "mobileclip_b": {"width_divisor": 4, "image_size": PIXELS},
}
DATASETS: dict[str, dict[str, Any]] = {"openmoji": {"samples": 32, "concepts": 10}, "webdataset": {}}
MOST_PARAMETERS = 20_000_000  # of a shrunken copy: two steps and a checkpoint in some seconds
SHRUNKEN = ("data.workers=0", "data.lanes=2", "data.window=4", f"data.preprocess.size={PIXELS}", "engine.steps=2",
            "engine.batch_size=4", "engine.micro_batch=2", "engine.device=cpu", "log.every_steps=1",
            "checkpoint.every_steps=null")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(OpenMoji(32, split="validation", size=72, concepts=10, objects=(1, 1)), folder)
    return folder


@pytest.fixture(autouse=True)
def _global_settings() -> Iterator[None]:
    """A run makes torch deterministic for its whole process."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_dry_runs_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = compose(f"+recipe={name}", "dry_run=true")
    dry_run(recipe, open_source(recipe))
    told = capsys.readouterr().out
    model, engine, sampler = build_model(recipe, torch.device("meta")), recipe["engine"], build_sampler(recipe)
    assert f"{sum(value.numel() for value in model.parameters()):,} parameters" in told
    seen = recipe["data"]["lanes"] * sampler.draws(engine["steps"]).start
    assert f"{engine['steps']:,} steps, {seen:,} samples seen" in told


@pytest.mark.parametrize("name", recipe_names())
def test_a_shrunken_copy_trains_all_its_parameters(name: str, shards: Path, tmp_path: Path) -> None:
    recipe = shrink(compose(f"+recipe={name}", f"data.root={shards}", f"run_dir={tmp_path}", *SHRUNKEN))
    size = sum(value.numel() for value in build_model(recipe, torch.device("meta")).parameters())
    assert size < MOST_PARAMETERS, f"give {recipe['model']['name']} an argument that makes it smaller, and a place in MODELS"
    run(recipe, open_source(recipe))

    steps = records(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in steps] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in steps)
    evaluated = {line["evaluator"]: line["step"] for line in records(tmp_path / "evaluations.jsonl")}
    assert evaluated == dict.fromkeys(recipe["evaluators"], 2)
    trained = load_file(tmp_path / "model" / "model.safetensors")
    before = build_model(recipe, torch.device("cpu"))
    still = [key for key, value in before.named_parameters() if value.requires_grad and torch.equal(value, trained[key])]
    assert not still, "no loss depends on these"
    assert all(value.isfinite().all() for value in trained.values())


def shrink(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe with small models and data, and nothing that moves a parameter but its gradient."""
    for node in (recipe["model"], *recipe["frozen"].values()):
        node = node.get("model", node)  # the one that another goes around
        assert node["name"] in MODELS, f"add {node['name']} to MODELS"
        node.update(MODELS[node["name"]])
    for node in datasets(recipe):
        assert node["name"] in DATASETS, f"add {node['name']} to DATASETS"
        node.update(DATASETS[node["name"]])
    for section, key, value in (("schedule", "warmup_steps", 1), ("optimizer", "weight_decay", 0.0),
                                ("engine", "ema_decay", 0.5), ("engine", "compile", False)):
        if recipe[section].get(key) is not None:
            recipe[section][key] = value
    return recipe


def datasets(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every data set that a recipe names, those of its evaluators among them."""
    known = registry.names("dataset")
    for value in node.values():
        if isinstance(value, dict):
            if value.get("name") in known:
                yield value
            yield from datasets(value)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
