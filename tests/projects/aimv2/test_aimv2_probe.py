"""The attentive probe by the command that the README shows: from shards, on one rank and on two;
and table A2.
"""

import inspect
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import corekit_recipes
import pytest
import torch
import yaml

import corekit
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.shards.writer import write_shards
from corekit.data.transforms.preprocess import Preprocess
from corekit.evaluation.probes.attentive_probe import AttentiveProbe
from tests.conftest import corekit_command

CONCEPTS, TRAIN, TEST = 3, 40, 12
# A2 of Fini et al. (2024), its column for ImageNet-1k, and the augmentation that goes with it
TABLE = {
    "learning_rates": (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3),
    "weight_decays": (0.05, 0.1),
    "final_learning_rate": 1e-5,
    "grad_clip": 3.0,
    "epochs": 100,
    "batch_size": 1024,
    "warmup_fraction": 5 / 100,
}
AUGMENTATION = {
    "scale": [0.08, 1.0], "ratio": [0.75, 1.33], "flip": 0.5, "color_jitter": 0.3, "operations": 2,
    "magnitude": 9, "magnitude_std": 0.5
}


def test_the_option_is_the_papers_table() -> None:
    node = yaml.safe_load(
        (Path(corekit_recipes.__file__).parent / "evaluation" / "attentive_probe.yaml").read_text())
    probe = node["attentive_probe"]
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(AttentiveProbe).parameters.items()
    }
    assert {name: probe.get(name, defaults[name]) for name in TABLE} == TABLE
    assert {name: defaults[name] for name in TABLE} == TABLE
    assert {name: probe["transform"][name] for name in AUGMENTATION} == AUGMENTATION
    assert len(TABLE["learning_rates"]) * len(
        TABLE["weight_decays"]) == 14  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a pre-training model, and shards in CLIP_benchmark's layout."""
    folder = tmp_path_factory.mktemp("probe")
    for split, seed, samples in (("train", 0, TRAIN), ("test", 1, TEST)):
        write_shards(OpenMoji(samples, seed=seed, size=48, concepts=CONCEPTS, objects=(1, 1)),
                     folder / "data" / split)
    shutil.copy(folder / "data" / "train" / "classnames.txt", folder / "data")
    model = {
        "encoder": "aimv2_nano", "context_length": 4, "vocab_size": 20, "width_divisor": 4,
        "depth_divisor": 6
    }
    torch.manual_seed(0)
    weights = corekit.create_model("aimv2_pretrain", **model).state_dict()
    preprocess = Preprocess(42, "bicubic", (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    recipe = {
        "model": {"name": "aimv2_pretrain", **model}, "seed": 0,
        "data": {"preprocess": asdict(preprocess)}
    }
    save_model_folder(folder / "model", weights, recipe, preprocess)
    return folder


def evaluate(folder: Path, ranks: int) -> dict[str, Any]:
    words = ("checkpoint=model", "+evaluation=attentive_probe", "data.root=data", "data.workers=0",
             "evaluators.attentive_probe.epochs=1", "evaluators.attentive_probe.batch_size=16")
    done = corekit_command("corekit-eval", *words, folder=folder, ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert f"attentive_probe on {TEST} samples of data: " in done.stdout
    results: dict[str, Any] = json.loads(
        (folder / "model.evaluations.jsonl").read_text().splitlines()[-1])
    return results


def test_the_probe_of_shards_is_the_same_on_two_ranks(folder: Path) -> None:
    alone, both = evaluate(folder, 1), evaluate(folder, 2)
    assert alone["evaluated"] == both["evaluated"] == TEST
    assert len(alone["grid"]) == 14
    assert alone["trunk_sha256"] == both["trunk_sha256"]
    for one, two in zip(alone["grid"], both["grid"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
