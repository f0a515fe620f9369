"""A run builds each of its parts once; only models, whose initial values are drawn in their
constructors, are constructed a second time.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from corekit import registry
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.models.build import build_model
from corekit.train.assemble import micro_batches
from corekit.train.verify import verify
from tests.plain import compose, parts, train

WORDS = ("+recipe=mobileclip/quickstart", "model.name=clip_vit_b16", "+model.image_size=32",
         "+model.width_divisor=24", "+model.depth_divisor=12", "data.preprocess.size=32",
         "engine.steps=1", "schedule.warmup_steps=0", "engine.batch_size=4", "data.streams=2",
         "engine.micro_batch=2", "engine.device=cpu", "data.workers=0", "data.window=4",
         "data.dataset.samples=16", "~evaluators.zero_shot",
         "evaluators.knn={name:knn,k:2,train_dataset:{name:openmoji,samples:8},"
         "dataset:{name:openmoji,samples:8,split:validation}}")


@pytest.fixture(autouse=True)
def _deterministic_as_before() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def test_each_part_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: Counter[str] = Counter()
    build, prepare = registry.build, Preprocess.__post_init__

    def counted(kind: str, *words: Any, **more: Any) -> Any:
        built[kind] += 1
        return build(kind, *words, **more)

    def prepared(self: Preprocess) -> None:
        built["preprocess"] += 1
        prepare(self)

    monkeypatch.setattr(registry, "build", counted)
    monkeypatch.setattr(Preprocess, "__post_init__", prepared)
    train({**compose(*WORDS), "run_dir": str(tmp_path)})
    for kind in ("tokenizer", "transform", "sampler", "loss", "optimizer", "schedule", "evaluator",
                 "preprocess"):
        assert built[kind] == 1, kind
    assert built["model"] == 2
    assert built["dataset"] == 3, "of training and the two of the evaluator"


def test_parts_are_on_the_meta_device() -> None:
    built = parts(compose(*WORDS))
    assert {value.device.type for value in built.model.parameters()} == {"meta"}
    assert built.wiring.function is built.model
    assert built.micro_batches == 2


def test_sizes_that_do_not_divide_are_refused() -> None:
    engine = parts(compose(*WORDS)).config.engine
    assert micro_batches(engine, streams=4, world=2) == 2
    with pytest.raises(CorekitError, match="3 ranks cannot share the 2 micro-batches of a step"):
        micro_batches(engine, streams=4, world=3)
    with pytest.raises(CorekitError, match=r"data\.streams=3 must be a multiple of the 2"):
        micro_batches(engine, streams=3, world=1)


def test_a_part_starts_from_a_place_of_its_own_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    there = build_model(parts(compose(*WORDS)).config.model, 5, torch.device("cpu")).state_dict()
    tower = {name: value for name, value in there.items() if name.startswith("text_tower.")}
    assert tower
    save_file(tower, tmp_path / "tower.safetensors")
    place = f"init.parts.text_tower.path={tmp_path}/tower.safetensors"
    train({**compose(*WORDS, place, "optimizer.learning_rate=1e-12"),
           "run_dir": str(tmp_path / "run")})
    weights = load_file(tmp_path / "run/model/model.safetensors")
    assert all(torch.allclose(weights[name], value) for name, value in tower.items())
    with pytest.raises(CorekitError, match="init.parts.text_towr: the model has no part"):
        verify(parts(compose(*WORDS, place.replace("tower.path", "towr.path"))))
